//! A disk that is full under the server: what is new is refused or not acknowledged, nothing that was acknowledged
//! is lost, and everything goes on when there is room and the server was started again.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use stepwell::shared::error_code::ErrorCode;
use stepwell::{RequestError, StartError, WorkflowHandle};
use stepwell_connection::clock::now_ms;
use stepwell_tests::cluster::Cluster;
use stepwell_tests::patience::until;
use stepwell_tests::tmpfs::Tmpfs;
use stepwell_tests::workflows::lifecycle::{GO, chain, waits};
use stepwell_tests::workflows::waiting::sleeps_until;

use crate::stage::{Cache, PROGRAM, Stage, leave_out, result, together};

/// The size of the disk.
const MIB: u32 = 64;

/// Clients that start one run after the other.
const CLIENTS: usize = 4;

/// How many runs must have been started before and after.
const SOME: usize = 20;

/// Pause of a client that was refused.
const PAUSE: Duration = Duration::from_millis(20);

/// How many runs wake up while the disk is full: more than find room in pages that are begun.
const WAKES: u64 = 500;

/// What the system says of a full disk, as the server repeats it.
const FULL: &str = "no space left on device";

/// What clients were told.
#[derive(Default)]
struct Told {
    started: Cell<usize>,
    refused: Cell<usize>,
    /// Of these it was said that they are or will be started.
    accepted: RefCell<Vec<WorkflowHandle<Vec<String>>>>,
    over: Cell<bool>,
}

impl Told {
    /// Starts one run after the other until it is over.
    async fn start(&self, client: &stepwell::Client) {
        while !self.over.get() {
            let number = self.started.replace(self.started.get() + 1);
            let id = format!("n{number}");
            match client.start(chain, &id, 2).await {
                Ok(handle) => self.accepted.borrow_mut().push(handle),
                Err(StartError::Request(RequestError::Unavailable { stored: true, .. })) => {
                    self.accepted.borrow_mut().push(client.workflow(chain, id));
                }
                Err(error) => {
                    let unknown = matches!(error, StartError::Request(RequestError::Unavailable { .. }));
                    assert!(unknown || error.code() == Some(ErrorCode::StorageFull), "{error}");
                    self.refused.set(self.refused.get() + 1);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn until_more_are_accepted(&self) {
        let before = self.accepted.borrow().len();
        until("starts that are acknowledged", || self.accepted.borrow().len() >= before + SOME).await;
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_gone_on_from() {
    let disk = match Tmpfs::mount("disk", MIB) {
        Ok(disk) => disk,
        Err(reason) => return leave_out(&format!("a tmpfs cannot be mounted: {reason}")),
    };
    let mut cluster = Cluster::start_in("full-disk", PROGRAM, disk.path()).await;
    let orchestrator = cluster.orchestrator().await;
    let worker = cluster.worker(&Cache::Warm.worker()).await;
    let open = cluster.client.start(waits, "open", ()).await.expect("it starts");
    let (told, client) = (Told::default(), &cluster.client.clone());
    let happens = async {
        told.until_more_are_accepted().await;
        // Their records do not wait for an event, so that it does not matter which stream is full first.
        let soon = now_ms() + 1_000;
        let wakes = (0..WAKES).map(|number| async move {
            let at_ms = soon + number * 5;
            client.start(sleeps_until, format!("wakes-{number}"), at_ms).await.expect("there is room")
        });
        let wakes = together(wakes).await;
        let ballast = disk.fill();
        until("a record that cannot be written", || {
            let log = std::fs::read_to_string(cluster.server.log()).expect("the server has a log");
            log.lines().any(|line| line.contains(FULL) && line.contains("STEPWELL_default_HISTORY"))
        })
        .await;
        std::fs::remove_file(ballast).expect("it can be removed");
        // A stream that could not be written stays as it is until the server was started again.
        cluster.kill_server();
        cluster.answered().await;
        told.until_more_are_accepted().await;
        told.over.set(true);
        wakes
    };
    let (wakes, _) = tokio::join!(happens, together((0..CLIENTS).map(|_| told.start(client))));
    let accepted = told.accepted.take();
    println!("{} started, {} accepted, {} refused", told.started.get(), accepted.len(), told.refused.get());
    for handle in &accepted {
        assert_eq!(result(handle).await.len(), 2);
    }
    for handle in &wakes {
        result(handle).await;
    }
    open.signal(GO, 3).await.expect("there is room");
    assert_eq!(result(&open).await, 3);
    Stage { cluster, orchestrator, worker }.finish().await;
}
