//! Bodies: the version at the door, payloads that are carried and not read, and what is missing.

use proptest::prelude::*;
use stepwell_shared::encoding::{DecodeError, VERSION, decode, decode_unversioned, encode};
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::history::{Event, Record};
use stepwell_shared::message::{Outcome, ReportMessage, SignalMessage, StartMessage, StopMessage};
use stepwell_shared::payload::Payload;
use stepwell_shared::task::{ActivityTask, WorkflowTask, WorkflowTaskReply};

#[test]
fn what_is_missing_has_a_default() {
    let start: StartMessage = decode(br#"{"v":1}"#).unwrap();
    assert_eq!((start.queue.as_str(), start.input), ("default", Payload::null()));
    let signal: SignalMessage = decode(br#"{"v":1,"more":"is ignored"}"#).unwrap();
    assert_eq!(signal.payload, Payload::null());
    let stop: StopMessage = decode(br#"{"v":1}"#).unwrap();
    assert_eq!(stop.reason, "");
    let report: ReportMessage =
        decode(br#"{"v":1,"attempt":1,"token":"t","outcome":{"completed":{}}}"#).unwrap();
    assert_eq!(report.outcome, Outcome::Completed { result: Payload::null() });
}

#[test]
fn other_versions_are_named_before_anything_else_is_read() {
    for body in [r#"{"v":2}"#, r#"{"v":2,"queue":7}"#, r#"{"v":18446744073709551615}"#] {
        let error = decode::<StartMessage>(body.as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::Version { .. }), "{error}");
        assert_eq!(error.code(), ErrorCode::UnknownVersion);
    }
    let error = decode::<StartMessage>(br#"{"queue":"q"}"#).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the body: missing field `v`");
    for body in
        ["", "null", "[]", "7", "{", r#"{"v":"1"}"#, r#"{"v":-1}"#, r#"{"v":1,"queue":"a b"}"#, "\u{0}"]
    {
        let error = decode::<StartMessage>(body.as_bytes()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MalformedBody, "{body:?}");
    }
}

#[test]
fn an_empty_request_is_an_empty_object() {
    let request: stepwell_shared::api::ListRequest = decode_unversioned(b"").unwrap();
    assert_eq!(request, stepwell_shared::api::ListRequest::default());
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let deep = format!(r#"{{"v":1,"input":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    // Either way of dealing with it is fine, as long as there is one.
    let _ = decode::<StartMessage>(deep.as_bytes());
    let causes = format!(
        r#"{{"v":1,"attempt":1,"token":"t","outcome":{{"failed":{{"failure":{}{}}}}}}}"#,
        r#"{"kind":"application","type":"a","message":"m","cause":"#.repeat(10_000),
        "}".repeat(10_000)
    );
    assert!(decode::<ReportMessage>(causes.as_bytes()).is_err());
}

#[test]
fn a_payload_is_copied_not_read() {
    let text = r#"{ "big": 123456789012345678901234567890, "a": 1.0, "a": 2 }"#;
    let payload = Payload::from_json(text.to_owned()).unwrap();
    let message = SignalMessage { v: VERSION, payload, request_id: None };
    let read: SignalMessage = decode(&encode(&message)).unwrap();
    assert_eq!(read.payload.json(), text);
    assert_eq!(read.payload.size(), text.len());
    for bad in ["", "{", "1 2", "nul"] {
        assert!(Payload::from_json(bad.to_owned()).is_err(), "{bad:?}");
    }
}

#[test]
fn events_are_told_apart_by_their_key() {
    let event = Event::TimerFired { seq: 3 };
    assert_eq!(encode(&event), br#"{"timer_fired":{"seq":3}}"#);
    assert!(serde_json::from_str::<Event>(r#"{"timer_fird":{"seq":3}}"#).is_err());
}

proptest! {
    #[test]
    fn strings_survive(text in any::<String>()) {
        let payload = Payload::encode(&text).unwrap();
        prop_assert_eq!(payload.decode::<String>().unwrap(), text.clone());
        let message = SignalMessage { v: VERSION, payload, request_id: Some(text) };
        prop_assert_eq!(decode::<SignalMessage>(&encode(&message)).unwrap(), message);
    }

    /// Any bytes: a body or an error with a code.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), json: bool) {
        let body = if json { format!("{{\"v\":1,{}", String::from_utf8_lossy(&bytes)).into_bytes() } else { bytes };
        let _ = decode::<StartMessage>(&body);
        let _ = decode::<ReportMessage>(&body);
        let _ = decode::<Record>(&body);
        let _ = decode::<ActivityTask>(&body);
        let _ = decode::<WorkflowTask>(&body);
        let _ = decode::<WorkflowTaskReply>(&body);
    }
}
