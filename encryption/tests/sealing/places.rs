//! A place, and every other place.

use stepwell_encryption::{Context, PayloadError, Payloads, Place, is_sealed};
use stepwell_shared::ids::{Namespace, StepId, WorkflowId};
use stepwell_shared::payload::Payload;

use crate::support::{MARKER, id, keyed, keyless, marked, name, payloads_in, ring, run, sealed};

#[test]
fn what_is_sealed_opens_in_its_own_place_and_in_no_other() {
    let payloads = keyed();
    let (a, b) = (name("a"), name("b"));
    let (r, s) = (run("r"), run("s"));
    let (one, two, undo) = (StepId::Action(1), StepId::Action(2), StepId::Undo(1));
    let places = [
        Place::WorkflowInput(&a),
        Place::WorkflowInput(&b),
        Place::WorkflowResult(&r),
        Place::WorkflowResult(&s),
        Place::Signal(&a),
        Place::Signal(&b),
        Place::QueryArgument(&a),
        Place::QueryAnswer(&a),
        Place::QueryFailure(&a),
        Place::ActivityInput(&r, one),
        Place::ActivityInput(&r, two),
        Place::ActivityInput(&s, one),
        Place::ActivityResult(&r, one),
        Place::ActivityResult(&r, undo),
        Place::Heartbeat(&r, one),
        Place::Heartbeat(&r, undo),
        Place::FailureMessage(&r, None),
        Place::FailureMessage(&r, Some(one)),
        Place::FailureDetails(&r, None),
        Place::FailureDetails(&r, Some(one)),
        Place::StallMessage(&r),
    ];
    for (made, place) in places.into_iter().enumerate() {
        let payload = sealed(&payloads, place, &marked());
        assert!(is_sealed(&payload) && !payload.json().contains(MARKER));
        for (tried, other) in places.into_iter().enumerate() {
            let mut opened = payload.clone();
            let result = payloads.open(&id("w"), other, &mut opened);
            if made == tried {
                assert_eq!((result, opened), (Ok(()), marked()), "{place:?}");
            } else {
                assert!(matches!(result, Err(PayloadError::NotAuthentic { .. })), "{place:?} at {other:?}");
                assert_eq!(opened, payload, "it is left alone");
            }
        }
    }
}

#[test]
fn it_opens_in_no_other_workflow_and_no_other_namespace() {
    let (r, payloads) = (run("r"), keyed());
    let place = Place::WorkflowResult(&r);
    let refused = |payloads: &Payloads, id: &WorkflowId| {
        let mut payload = sealed(&keyed(), place, &marked());
        payloads.open(id, place, &mut payload).expect_err("it was not sealed there")
    };
    assert!(matches!(refused(&payloads, &id("w2")), PayloadError::NotAuthentic { .. }));
    let elsewhere = payloads_in("other", Some(ring(&[("k1", 1)]).into()));
    assert!(matches!(refused(&elsewhere, &id("w")), PayloadError::NotAuthentic { .. }));
    let error = refused(&keyless(), &id("w"));
    assert_eq!(error, PayloadError::NoKeys { what: "the result of the run".into(), key: "k1".into() });
}

#[test]
fn what_is_authenticated_is_what_is_documented() {
    let (namespace, r) = (Namespace::default(), run("0190"));
    let context =
        |place| Context { namespace: &namespace, workflow_id: &id("order 7"), place }.associated_data();
    assert_eq!(
        context(Place::ActivityInput(&r, StepId::Action(7))),
        "default\norder 7\nactivity_input\n0190/7"
    );
    assert_eq!(context(Place::Heartbeat(&r, StepId::Undo(7))), "default\norder 7\nheartbeat\n0190/undo-7");
    assert_eq!(context(Place::Signal(&name("approve"))), "default\norder 7\nsignal\napprove");
}

#[test]
fn an_envelope_of_another_writer_can_be_read() {
    // Made with another implementation: 32 bytes of 0x2a as the key, a nonce of 24 bytes of 0x07.
    let envelope = include_str!("foreign.json").trim();
    let payloads = crate::support::with(ring(&[("2026-11", 0x2a)]));
    let mut payload = Payload::from_json(envelope.to_owned()).expect("JSON");
    let order = name("order_saga");
    payloads.open(&id("order 7"), Place::WorkflowInput(&order), &mut payload).expect("it opens");
    assert_eq!(payload.json(), r#"{"article": "lamp", "cents": 4990}"#);
}
