//! What Stepwell relies on in JetStream, checked on the simulation's model and on real servers: the newest
//! (`STEPWELL_NATS_SERVER`) and the oldest supported one (`STEPWELL_NATS_SERVER_OLDEST`). What the model
//! and a server answer alike here, the simulation may rely on.

mod buckets;
mod logs;
mod queues;

use stepwell_shared::ids::{Name, Namespace, WorkflowId};
use stepwell_simulation::backend::{KeyValue, Log, Memory, Queue, Real};

/// Partitions of the namespace under test: few, so that ids share them.
const PARTITIONS: u32 = 4;

/// All that is relied on.
trait Backend: Log + Queue + KeyValue {}
impl<T: Log + Queue + KeyValue> Backend for T {}

/// Runs a case on the model and on every server that is at hand.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod model {
            $(#[test]
            fn $case() {
                super::$case(&mut crate::model());
            })*
        }

        mod newest_server {
            $(#[test]
            fn $case() {
                super::$case(&mut crate::newest_server());
            })*
        }

        mod oldest_server {
            $(#[test]
            fn $case() {
                if let Some(mut server) = crate::oldest_server() {
                    super::$case(&mut server);
                }
            })*
        }
    };
}
pub(crate) use cases;

fn model() -> Memory {
    Memory::new(Namespace::default(), PARTITIONS)
}

fn newest_server() -> Real {
    let binary = stepwell_nats_server::find().expect("a nats-server binary; set STEPWELL_NATS_SERVER");
    Real::start(binary, PARTITIONS).expect("the server starts")
}

/// `None` where there is only one server to test with.
fn oldest_server() -> Option<Real> {
    let Some(binary) = std::env::var_os("STEPWELL_NATS_SERVER_OLDEST") else {
        eprintln!("not run on the oldest server: STEPWELL_NATS_SERVER_OLDEST is not set");
        return None;
    };
    Some(Real::start(binary, PARTITIONS).expect("the server starts"))
}

fn id(text: &str) -> WorkflowId {
    WorkflowId::new(text).expect("a valid id")
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}
