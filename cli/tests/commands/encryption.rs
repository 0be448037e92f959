//! Making keys, and what people with and without them see.

use serde_json::Value;
use stepwell_encryption::KeyRing;
use stepwell_shared::api::{Description, HistoryAnswer};

use crate::support::{Dev, file, stepwell};
use crate::worker;

const SECRET: &str = "blue heron";

#[test]
fn keys_are_made_and_added_behind_those_that_are_there() {
    let path = file("made.keys", "");
    std::fs::remove_file(&path).unwrap();
    let path = path.to_str().unwrap();
    let new = |id: &str| stepwell("nats://unused", &["keys", "new", "--id", id, "--file", path]);
    assert_eq!(new("one").ok(), "one");
    std::fs::write(path, format!("# ours\n{}", std::fs::read_to_string(path).unwrap().trim_end())).unwrap();
    assert!(new("two").stderr.contains("one key more, which decrypts"));
    assert!(new("two").failed(6).contains("has a key `two` already"));
    new("t w o").failed(2);
    assert_eq!(KeyRing::read(path).unwrap().ids().collect::<Vec<_>>(), ["one", "two"]);
    let printed = stepwell("nats://unused", &["keys", "new"]);
    assert!(printed.stderr.contains("STEPWELL_KEYS_FILE"), "{printed:?}");
    let id = KeyRing::parse(&printed.ok()).unwrap().ids().next().unwrap().to_owned();
    assert_eq!(id.len(), "2026-11-26-1105".len());
    let printed: Value = stepwell("nats://unused", &["keys", "new", "--id", "x", "-o", "json"]).json();
    assert!(KeyRing::parse(printed["line"].as_str().unwrap()).is_ok() && printed["id"] == "x");
    let broken = file("broken.keys", "no key");
    let broken = broken.to_str().unwrap();
    stepwell("nats://unused", &["keys", "new", "--file", broken]).failed(2);
    assert_eq!(std::fs::read_to_string(broken).unwrap(), "no key");
    assert!(
        stepwell("nats://unused", &["list", "--keys-file", broken]).failed(2).contains("line 1 of the keys")
    );
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_a_new_key_file() {
    use std::os::unix::fs::PermissionsExt;
    let path = file("private.keys", "");
    std::fs::remove_file(&path).unwrap();
    stepwell("nats://unused", &["keys", "new", "--file", path.to_str().unwrap()]).ok();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_key_sees_everything_and_others_see_which_key_it_is() {
    let keys = file("shown.keys", "");
    std::fs::remove_file(&keys).unwrap();
    let keys = keys.to_str().unwrap();
    let dev = Dev::start(&[]);
    dev.run(&["keys", "new", "--id", "k1", "--file", keys]).ok();
    let _worker = worker::start_with(&dev, Some(KeyRing::read(keys).unwrap())).await;
    let with = |arguments: &[&str]| dev.run(&[arguments, &["--keys-file", keys]].concat());
    let secret = format!("{SECRET:?}");
    // Without the key nothing is encrypted on the way in; with it everything is, whoever asks for it.
    let hidden = "(encrypted with key k1)";
    assert_eq!(with(&["start", "echo", "--id", "e", "--input", &secret, "--wait"]).ok(), secret);
    let result = dev.run(&["result", "e"]);
    assert!(result.stderr.contains("give --keys-file a file that has key k1"), "{result:?}");
    assert_eq!(result.ok(), hidden);

    with(&["start", "gate", "--id", "g", "--input", &secret]).ok();
    assert_eq!(with(&["query", "g", "state", "--argument", &secret]).ok(), secret);
    assert_eq!(dev.run(&["query", "g", "state", "--argument", &secret]).ok(), hidden);
    let unknown = |it: &dyn Fn(&[&str]) -> crate::support::Ended| it(&["query", "g", "colour"]).failed(1);
    assert!(unknown(&with).contains("there is no query colour; there is state"));
    assert!(unknown(&|arguments| dev.run(arguments)).contains(hidden));
    with(&["signal", "g", "noise", "--payload", &secret]).ok();
    with(&["signal", "g", "open", "--payload", &secret]).ok();
    assert_eq!(with(&["result", "g"]).ok(), secret);
    for command in ["describe", "history"] {
        let (open, closed) = (with(&[command, "g"]).ok(), dev.run(&[command, "g"]).ok());
        assert!(open.contains(SECRET) && !open.contains("encrypted"), "{open}");
        assert!(closed.contains(hidden) && !closed.contains(SECRET), "{closed}");
        assert!(!closed.contains("nonce"), "{closed}");
    }
    let described: Description = with(&["describe", "g", "-o", "json"]).json();
    assert_eq!(described.input.json(), secret);
    let history: HistoryAnswer = dev.run(&["history", "g", "-o", "json"]).json();
    assert!(serde_json::to_string(&history).unwrap().matches("$stepwell.encrypted").count() >= 4);

    assert!(with(&["start", "broken", "--id", "b", "--wait"]).failed(4).contains("b is failed: Broken: it"));
    assert!(dev.run(&["result", "b"]).failed(4).contains(&format!("b is failed: Broken: {hidden}")));
    assert!(dev.run(&["list"]).ok().contains(&format!("Broken: {hidden}")));
    assert!(with(&["list"]).ok().contains("Broken: it"));
    let other = file("other.keys", &stepwell("nats://unused", &["keys", "new", "--id", "k2"]).ok());
    assert_eq!(dev.run(&["result", "g", "--keys-file", other.to_str().unwrap()]).ok(), hidden);
}
