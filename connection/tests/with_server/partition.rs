//! The server's `partition(n)` and ours must agree for every id, or an event would be looked for in a
//! partition where it is not.

use bytes::Bytes;
use stepwell_connection::provision::{ProvisionOptions, provision};
use stepwell_shared::ids::WorkflowId;
use stepwell_shared::rng::SplitMix64;
use stepwell_shared::subject::{self, EventAddress, Stream};

use crate::support::{connect, server};

const ODD_IDS: [&str; 12] =
    ["a", "order.7", "a b", "=", "=2E", "*", ">", "ünïcode/ß", "日本語", "a/b/c", "$JS", "x.y.z.*.>"];

#[tokio::test]
async fn the_server_puts_every_id_where_we_look_for_it() {
    for partitions in [16, 7] {
        let server = server();
        let connection = connect(&server).await;
        let options = ProvisionOptions { partitions: Some(partitions), ..ProvisionOptions::default() };
        provision(&connection, &options).await.unwrap();
        let ids = ids();
        let mut acks = Vec::new();
        for id in &ids {
            let subject = subject::event(connection.namespace(), id, &EventAddress::Cancel);
            let body = Bytes::from_static(br#"{"v":1}"#);
            acks.push(connection.publisher().publish(subject, None, body).await.unwrap());
        }
        let name = Stream::Events.name(connection.namespace());
        let stream = connection.jetstream().get_stream(name).await.unwrap();
        let mut used = std::collections::BTreeSet::new();
        for (id, ack) in ids.iter().zip(acks) {
            let stored = stream.direct_get(ack.await.unwrap().sequence).await.unwrap().subject;
            let partition = subject::partition(id, partitions);
            let token = subject::escape(id.as_str());
            assert_eq!(stored.as_str(), format!("stepwell.default.event.{partition}.{token}.cancel"));
            let parsed = subject::parse_stored_event(&stored).unwrap();
            assert_eq!(parsed, (id.clone(), EventAddress::Cancel));
            used.insert(partition);
        }
        assert_eq!(used.len(), usize::try_from(partitions).unwrap(), "every partition is used");
    }
}

fn ids() -> Vec<WorkflowId> {
    let mut rng = SplitMix64::new(7);
    let alphabet: Vec<char> = "abcXYZ019-_/. =*>äß漢🚀$#?%".chars().collect();
    let random = (0..2_000).map(|_| {
        let length = 1 + rng.next_u64() % 40;
        let pick = |_| alphabet[usize::try_from(rng.next_u64()).unwrap_or(0) % alphabet.len()];
        (0..length).map(pick).collect::<String>()
    });
    let odd = ODD_IDS.iter().map(|id| (*id).to_owned());
    let plain = (0..500).map(|number| format!("order-{number}"));
    odd.chain(plain).chain(random).map(|id| WorkflowId::new(id).unwrap()).collect()
}
