//! For every value, place and key.

use proptest::prelude::*;
use stepwell_encryption::{MAX_SEALED_TEXT_BYTES, Place, shown};
use stepwell_shared::ids::StepId;
use stepwell_shared::payload::Payload;

use crate::support::{id, name, ring, run, with};

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back_byte_for_byte(value in json(), key in any::<u8>(), seq in 1..u32::MAX) {
        let payloads = with(ring(&[("k", key)]));
        let plain = Payload::encode(&value).expect("JSON");
        let run_id = run("r");
        let place = Place::ActivityResult(&run_id, StepId::Action(seq));
        let mut payload = plain.clone();
        payloads.seal(&id("w"), place, &mut payload).expect("it is sealed");
        prop_assert!(payload.size() <= 200 + (plain.size() + 18) / 3 * 4);
        prop_assert_eq!(shown(payload.json()), "(encrypted with key k)");
        let other = with(ring(&[("k", key.wrapping_add(1))]));
        prop_assert!(other.open(&id("w"), place, &mut payload.clone()).is_err());
        payloads.open(&id("w"), place, &mut payload).expect("it opens");
        prop_assert_eq!(payload.json(), plain.json());
    }

    #[test]
    fn texts_come_back_with_what_was_written_around_them(before in "[^{]{0,20}", text in any::<String>(), after in "[^{]{0,20}") {
        prop_assume!(text.len() <= MAX_SEALED_TEXT_BYTES);
        let payloads = with(ring(&[("k", 1)]));
        let q = name("q");
        let mut sealed = text.clone();
        payloads.seal_text(&id("w"), Place::QueryFailure(&q), &mut sealed).expect("it is sealed");
        let mut around = format!("{before}{sealed}{after}");
        payloads.open_text(&id("w"), Place::QueryFailure(&q), &mut around).expect("it opens");
        prop_assert_eq!(around, format!("{before}{text}{after}"));
    }

    #[test]
    fn nothing_that_somebody_writes_makes_it_panic(text in any::<String>(), rest in any::<String>()) {
        let payloads = with(ring(&[("k", 1)]));
        let q = name("q");
        for text in [text.clone(), format!("{{\"$stepwell.encrypted\"{text}"), format!("{text}{{ \"$stepwell.encrypted\":{{\"alg\":{rest}")] {
            let _ = shown(&text);
            let _ = payloads.open_text(&id("w"), Place::QueryFailure(&q), &mut text.clone());
        }
    }
}
