//! Ids and names: what is one, and what is not.

use proptest::prelude::*;
use stepwell_shared::ids::{InvalidId, Name, StepId, WorkflowId};
use stepwell_shared::limits::{MAX_NAME_BYTES, MAX_WORKFLOW_ID_BYTES};

#[test]
fn names_are_letters_digits_and_dashes() {
    for good in ["a", "Order_7-b", "0", &"x".repeat(MAX_NAME_BYTES)] {
        assert_eq!(Name::new(good).unwrap().as_str(), good);
    }
    for bad in ["a.b", "a b", "*", ">", "ä", "a\n", "a\0", "$JS"] {
        assert!(matches!(Name::new(bad), Err(InvalidId::Character { .. })), "{bad:?}");
    }
    assert!(matches!(Name::new(""), Err(InvalidId::Empty { .. })));
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    assert!(matches!(Name::new(long), Err(InvalidId::TooLong { limit: MAX_NAME_BYTES, .. })));
}

#[test]
fn workflow_ids_are_any_text_on_one_line() {
    for good in ["order 7", "a.b/c*>", "ключ", "🦀", &"x".repeat(MAX_WORKFLOW_ID_BYTES)] {
        assert_eq!(WorkflowId::new(good).unwrap().to_string(), good);
    }
    for bad in ["a\nb", "\0", "a\u{7f}", "\u{85}"] {
        assert!(matches!(WorkflowId::new(bad), Err(InvalidId::Character { .. })), "{bad:?}");
    }
    // Bytes count, not characters.
    let long = "é".repeat(MAX_WORKFLOW_ID_BYTES / 2 + 1);
    assert!(matches!(WorkflowId::new(long), Err(InvalidId::TooLong { found: 202, .. })));
}

#[test]
fn step_ids_have_one_spelling() {
    assert_eq!("7".parse(), Ok(StepId::Action(7)));
    assert_eq!("undo-7".parse(), Ok(StepId::Undo(7)));
    for bad in
        ["", "0", "07", "+7", "-7", " 7", "undo-", "undo-0", "undo-07", "undo-undo-7", "4294967296", "7x"]
    {
        assert!(bad.parse::<StepId>().is_err(), "{bad:?}");
    }
}

#[test]
fn json_is_checked_at_the_door() {
    assert!(serde_json::from_str::<Name>("\"a.b\"").is_err());
    assert!(serde_json::from_str::<WorkflowId>("\"\"").is_err());
    assert!(serde_json::from_str::<StepId>("\"007\"").is_err());
    let error = serde_json::from_str::<Name>("\"a.b\"").unwrap_err().to_string();
    assert!(error.contains("'.'") && error.contains("use ASCII letters"), "{error}");
}

proptest! {
    #[test]
    fn steps_read_back(seq in 1u32.., undo: bool) {
        let step = if undo { StepId::Undo(seq) } else { StepId::Action(seq) };
        prop_assert_eq!(step.to_string().parse(), Ok(step));
        prop_assert_eq!(step.seq(), seq);
        let json = serde_json::to_string(&step).unwrap();
        prop_assert_eq!(serde_json::from_str::<StepId>(&json).unwrap(), step);
    }

    #[test]
    fn only_the_canonical_spelling_reads(text in "(undo-)?[0-9]{1,11}") {
        if let Ok(step) = text.parse::<StepId>() {
            prop_assert_eq!(step.to_string(), text);
        }
    }

    #[test]
    fn any_text_is_an_id_or_an_error(text in any::<String>()) {
        if let Ok(id) = WorkflowId::new(&text) {
            prop_assert_eq!(id.as_str(), text.as_str());
        }
        let _ = Name::new(&text);
        let _ = text.parse::<StepId>();
    }
}
