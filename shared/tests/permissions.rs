//! `docs/operations.md` shows what `stepwell auth print` prints.
//!
//! `STEPWELL_UPDATE_DOCS=1 cargo test -p stepwell-shared --test permissions` writes it anew.

use std::path::PathBuf;

use stepwell_shared::ids::{Name, Namespace};
use stepwell_shared::permissions::{User, server_of_all};
use stepwell_shared::shard::Shards;

#[test]
fn the_document_shows_what_is_printed() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let document = std::fs::read_to_string(&path).expect("the document is there");
    let queue = Name::new("default").expect("a name");
    let users = User::of_each(&[queue]).expect("a short name");
    let printed = server_of_all(&users, &Namespace::default(), Shards::ONE);
    let (before, section) = document.split_once("\n## Permissions\n").expect("the section is there");
    let (prose, block) = section.split_once("\n```text\n").expect("it has a configuration");
    let (shown, after) = block.split_once("\n```\n").expect("the configuration ends");
    if std::env::var_os("STEPWELL_UPDATE_DOCS").is_some() {
        let text = format!("{before}\n## Permissions\n{prose}\n```text\n{printed}\n```\n{after}");
        std::fs::write(&path, text).expect("the document can be written");
        return;
    }
    assert_eq!(shown, printed, "STEPWELL_UPDATE_DOCS=1 writes it anew");
}
