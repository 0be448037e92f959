//! Medians, spreads and percentiles.

/// What repeating a measurement gave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Takes one more.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The median; NaN when nothing was measured.
    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    /// The lowest and the highest.
    pub(crate) fn range(&self) -> (f64, f64) {
        (self.0.first().copied().unwrap_or(f64::NAN), self.0.last().copied().unwrap_or(f64::NAN))
    }
}

/// The value that this share of `values` does not exceed; NaN when there are none.
pub(crate) fn percentile(values: &mut [u32], share: f64) -> f64 {
    values.sort_unstable();
    let place = (share * values.len() as f64).ceil() as usize;
    values.get(place.saturating_sub(1)).map_or(f64::NAN, |value| f64::from(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let mut samples = Samples::default();
        assert!(samples.median().is_nan());
        for value in [3.0, 1.0, 8.0] {
            samples.push(value);
        }
        assert_eq!((samples.median(), samples.range()), (3.0, (1.0, 8.0)));
        samples.push(4.0);
        assert_eq!(samples.median(), 3.5);
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let mut values: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut values, 0.5), 50.0);
        assert_eq!(percentile(&mut values, 0.99), 99.0);
        assert_eq!(percentile(&mut [7], 0.5), 7.0);
        assert!(percentile(&mut [], 0.5).is_nan());
    }
}
