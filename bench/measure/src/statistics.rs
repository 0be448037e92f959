//! Medians, spreads, percentiles.

/// What repeating a measurement gave.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Takes one more.
    pub fn push(&mut self, value: f64) {
        let place = self.0.partition_point(|other| other.total_cmp(&value).is_lt());
        self.0.insert(place, value);
    }

    /// The median; NaN when nothing was measured.
    #[must_use]
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    /// The value that this share of all do not exceed; NaN when nothing was measured.
    #[must_use]
    pub fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let place = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(place.saturating_sub(1).min(last)).copied().unwrap_or(f64::NAN)
    }

    /// The lowest and the highest.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        (self.0.first().copied().unwrap_or(f64::NAN), self.0.last().copied().unwrap_or(f64::NAN))
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are not more than this.
    #[must_use]
    pub fn count_up_to(&self, value: f64) -> usize {
        self.0.partition_point(|other| *other <= value)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
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

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let samples: Samples = (1..=200).rev().map(f64::from).collect();
        assert_eq!((samples.percentile(0.5), samples.percentile(0.99)), (100.0, 198.0));
        assert_eq!((samples.count_up_to(50.5), samples.count_up_to(0.0)), (50, 0));
        assert_eq!((samples.percentile(0.0), samples.percentile(1.0)), (1.0, 200.0));
        assert!(Samples::default().percentile(0.5).is_nan());
    }
}
