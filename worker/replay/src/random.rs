//! Values drawn from a run's seeded stream: the same on every replay, different for every run. Not for
//! secrets.

use stepwell_shared::rng::SplitMix64;

/// A type that [`WorkflowContext::random`](crate::WorkflowContext::random) can draw.
pub trait Random {
    /// One value, made of 64 random bits.
    #[must_use]
    fn from_random_bits(bits: u64) -> Self;
}

impl Random for f64 {
    /// Evenly spread over `[0, 1)`.
    fn from_random_bits(bits: u64) -> Self {
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Random for f32 {
    /// Evenly spread over `[0, 1)`.
    fn from_random_bits(bits: u64) -> Self {
        (bits >> 40) as f32 / (1u32 << 24) as f32
    }
}

impl Random for bool {
    fn from_random_bits(bits: u64) -> Self {
        bits >> 63 == 1
    }
}

macro_rules! random_integers {
    ($($integer:ty),*) => {$(
        impl Random for $integer {
            /// Every value is equally likely.
            fn from_random_bits(bits: u64) -> Self {
                (bits >> (64 - <$integer>::BITS)) as Self
            }
        }
    )*};
}

random_integers!(u8, u16, u32, u64, i8, i16, i32, i64);

/// A version 4 UUID, in lower-case hyphenated form.
pub(crate) fn uuid(stream: &mut SplitMix64) -> String {
    let (high, low) = (stream.next_u64(), stream.next_u64());
    let version = 0x4000 | (high & 0x0fff);
    let variant = 0x8000 | (low >> 48 & 0x3fff);
    format!(
        "{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn uuids_have_version_and_variant(seed: u64) {
            let text = uuid(&mut SplitMix64::new(seed));
            let groups: Vec<&str> = text.split('-').collect();
            prop_assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            prop_assert!(groups[2].starts_with('4'));
            prop_assert!(groups[3].starts_with(['8', '9', 'a', 'b']));
        }

        #[test]
        fn floats_lie_in_the_unit_interval(bits: u64) {
            prop_assert!((0.0..1.0).contains(&f64::from_random_bits(bits)));
            prop_assert!((0.0..1.0).contains(&f32::from_random_bits(bits)));
        }
    }
}
