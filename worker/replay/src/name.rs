//! The check of names that are constants of the program, at compile time where they are constants.

use stepwell_shared::limits::MAX_NAME_BYTES;

/// The rule of [`stepwell_shared::ids::Name`], as a `const fn`.
pub(crate) const fn assert_name(name: &str) {
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty(), "the name is empty");
    assert!(bytes.len() <= MAX_NAME_BYTES, "the name is longer than 128 bytes");
    let mut index = 0;
    while index < bytes.len() {
        let byte = bytes[index];
        let allowed = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        assert!(allowed, "a name is made of ASCII letters, digits, '_' and '-'");
        index += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stepwell_shared::ids::Name;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_shared_rule(name in "[a-zA-Z0-9_.é -]{0,140}") {
            let here = std::panic::catch_unwind(|| assert_name(&name)).is_ok();
            prop_assert_eq!(here, Name::new(&name).is_ok());
        }
    }
}
