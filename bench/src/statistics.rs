//! Medians and spreads.

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

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let mut samples = Samples::default();
        assert!(samples.is_empty() && samples.median().is_nan());
        for value in [3.0, 1.0, 8.0] {
            samples.push(value);
        }
        assert_eq!((samples.median(), samples.range()), (3.0, (1.0, 8.0)));
        samples.push(4.0);
        assert_eq!(samples.median(), 3.5);
    }
}
