//! A server of its own for one test, with orchestrators and workers as processes of their own, and a client.
//! When a test ends, what it left behind is checked as a whole.

use std::path::{Path, PathBuf};

use async_nats::jetstream::consumer::{FromConsumer as _, Info, pull};
use async_nats::jetstream::message::StreamMessage;
use futures_util::StreamExt;
use serde_json::{Value, json};
use stepwell::{Client, WorkflowHandle};
use stepwell_connection::ConnectionOptions;
use stepwell_connection::provision::{ProvisionOptions, ensure_queue, provision};
use stepwell_nats_server::NatsServer;
use stepwell_shared::announce::Announcement;
use stepwell_shared::api::{Description, ListRequest};
use stepwell_shared::history::Record;
use stepwell_shared::ids::Name;
use stepwell_shared::shard::{Shard, Shards};
use stepwell_shared::subject::{self, Stream};
use stepwell_shared::summary::RunSummary;

use crate::checks::{check_attempts, check_history, check_ledger, check_replay};
use crate::folder::Folder;
use crate::gates::Gates;
use crate::ledger::{Bank, Ledger};
use crate::patience::{eventually, in_time};
use crate::processes::Process;
use crate::proxy::Link;
use crate::workflows;
use crate::workflows::deploy::Version;

/// A server and what belongs to it.
pub struct Cluster {
    /// A client that is connected.
    pub client: Client,
    /// The ledger of all activities.
    pub ledger: Ledger,
    /// The bank that they book in.
    pub bank: Bank,
    /// The gates that they wait at.
    pub gates: Gates,
    /// The server.
    pub server: NatsServer,
    server_was_killed: bool,
    program: PathBuf,
    logins: Logins,
    folder: Folder,
}

/// As whom the processes log in. Without more: as nobody. The URL in them is not looked at.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    /// The client of the cluster, which looks at everything.
    pub client: ConnectionOptions,
    /// Orchestrators.
    pub orchestrator: ConnectionOptions,
    /// Workers.
    pub worker: ConnectionOptions,
}

/// What kind of worker is wanted.
#[derive(Debug, Clone, Default)]
pub struct WorkerSetup {
    queue: Option<String>,
    version: Version,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    login: Option<ConnectionOptions>,
    url: Option<String>,
}

impl WorkerSetup {
    /// A worker that reaches the server at another URL, that of a [`Link`].
    #[must_use]
    pub fn through(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    /// A worker that logs in in another way than the others.
    #[must_use]
    pub fn login(mut self, login: ConnectionOptions) -> Self {
        self.login = Some(login);
        self
    }

    /// A worker with an environment variable more.
    #[must_use]
    pub fn variable(mut self, name: &str, value: String) -> Self {
        self.variables.push((name.to_owned(), value));
        self
    }

    /// A worker of another queue than `default`.
    #[must_use]
    pub fn queue(mut self, queue: &str) -> Self {
        self.queue = Some(queue.to_owned());
        self
    }

    /// A worker that runs at most so many activities at once.
    #[must_use]
    pub fn slots(self, slots: usize) -> Self {
        self.with("--slots", &slots.to_string())
    }

    /// A worker that keeps so many runs in memory; 0: none between two tasks.
    #[must_use]
    pub fn cached(self, runs: usize) -> Self {
        self.with("--cached", &runs.to_string())
    }

    /// A worker with another version of workflow `deploy`.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        let value = clap::ValueEnum::to_possible_value(&version).expect("no version is hidden");
        self.with("--version", value.get_name())
    }

    /// A worker without activities.
    #[must_use]
    pub fn no_activities(mut self) -> Self {
        self.arguments.push("--no-activities".to_owned());
        self
    }

    /// A worker without the activities that write into the ledger.
    #[must_use]
    pub fn no_desk(mut self) -> Self {
        self.arguments.push("--no-desk".to_owned());
        self
    }

    /// A worker without workflows.
    #[must_use]
    pub fn no_workflows(mut self) -> Self {
        self.arguments.push("--no-workflows".to_owned());
        self
    }

    /// A worker that waits so many milliseconds for its activities when it is asked to end.
    #[must_use]
    pub fn drain(self, ms: u64) -> Self {
        self.with("--drain", &ms.to_string())
    }

    /// A worker that lets its reports wait so many milliseconds for others.
    #[must_use]
    pub fn report_linger(self, ms: u64) -> Self {
        self.with("--report-linger", &ms.to_string())
    }

    /// A worker that serves its metrics there.
    #[must_use]
    pub fn metrics(self, address: &str) -> Self {
        self.with("--metrics", address)
    }

    fn with(mut self, option: &str, value: &str) -> Self {
        self.arguments.extend([option.to_owned(), value.to_owned()]);
        self
    }
}

/// How many shards namespaces of tests have: as orchestrators are told by the environment, `STEPWELL_SHARDS`.
///
/// # Panics
/// When that is not a number of shards.
#[must_use]
pub fn shards() -> Shards {
    std::env::var("STEPWELL_SHARDS").map_or(Shards::ONE, |text| text.parse().expect("a number of shards"))
}

impl Cluster {
    /// A server for the test called `name`, without any process yet. `program` is the test process binary.
    ///
    /// # Panics
    /// When there is no server binary, or it does not start.
    pub async fn start(name: &str, program: &str) -> Self {
        Self::start_with(name, program, "").await
    }

    /// The same with more text in the server's configuration.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(name: &str, program: &str, config: &str) -> Self {
        Self::start_guarded(name, program, config, Logins::default()).await
    }

    /// The same for a server that by its configuration wants everybody to log in.
    ///
    /// # Panics
    /// As [`start`](Self::start), and when the client's login is refused.
    pub async fn start_guarded(name: &str, program: &str, config: &str, logins: Logins) -> Self {
        let folder = Folder::new(name);
        let store = folder.path().join("nats");
        Self::open(folder, &store, program, config, logins).await
    }

    /// A server that keeps its streams and its configuration in `store`, a folder of the test, and its log beside
    /// it, so that it can be written when `store` is full.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_in(name: &str, program: &str, store: &Path) -> Self {
        Self::open(Folder::new(name), store, program, "", Logins::default()).await
    }

    async fn open(folder: Folder, store: &Path, program: &str, config: &str, logins: Logins) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let binary = stepwell_nats_server::find_in(&root).unwrap_or_else(|error| panic!("{error}"));
        let log = folder.path().join("nats-server.log");
        let server = NatsServer::builder(binary).store_dir(store).log(log).config(config).start();
        let server = server.unwrap_or_else(|error| panic!("{error}"));
        let options = ConnectionOptions { nats_url: server.url(), ..logins.client.clone() };
        let client = Client::with(&options).await.expect("the server takes connections");
        Self {
            client,
            ledger: Ledger::open(folder.path()).expect("a ledger"),
            bank: Bank::open(folder.path()).expect("a bank"),
            gates: Gates::of(folder.path()),
            server,
            server_was_killed: false,
            program: program.into(),
            logins,
            folder,
        }
    }

    /// This login at this server.
    #[must_use]
    pub fn at(&self, login: &ConnectionOptions) -> ConnectionOptions {
        ConnectionOptions { nats_url: self.server.url(), ..login.clone() }
    }

    /// A way to the server that can be held up or cut, and its URL.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn link(&self) -> (Link, String) {
        let mut link = Link::default();
        let port = link.open(self.server.port()).await.expect("there is a free port");
        (link, format!("nats://127.0.0.1:{port}"))
    }

    /// Kills the server (SIGKILL) and starts it again on the same store.
    ///
    /// # Panics
    /// When it does not start again.
    pub fn kill_server(&mut self) {
        self.server_was_killed = true;
        self.server.kill();
        self.server.restart().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts an orchestrator and waits until it answers.
    pub async fn orchestrator(&self) -> Process {
        let process = self.orchestrator_with(&["--no-http"]);
        self.answered().await;
        process
    }

    /// Starts an orchestrator with these arguments.
    #[must_use]
    pub fn orchestrator_with(&self, arguments: &[&str]) -> Process {
        self.orchestrator_in(arguments, &[])
    }

    /// The same with some more environment variables.
    #[must_use]
    pub fn orchestrator_in(&self, arguments: &[&str], more: &[(String, String)]) -> Process {
        self.start_orchestrator(&self.at(&self.logins.orchestrator), arguments, more)
    }

    /// Starts an orchestrator that reaches the server at this URL, that of a [`Link`].
    #[must_use]
    pub fn orchestrator_through(&self, url: &str, arguments: &[&str]) -> Process {
        let connection = ConnectionOptions { nats_url: url.to_owned(), ..self.logins.orchestrator.clone() };
        self.start_orchestrator(&connection, arguments, &[])
    }

    fn start_orchestrator(
        &self,
        connection: &ConnectionOptions,
        arguments: &[&str],
        more: &[(String, String)],
    ) -> Process {
        let arguments = std::iter::once("orchestrator").chain(arguments.iter().copied());
        let arguments: Vec<String> = arguments.map(str::to_owned).collect();
        Process::start_in("orchestrator", &self.program, &arguments, connection, self.folder.path(), more)
    }

    /// Waits until an orchestrator answers.
    pub async fn answered(&self) {
        eventually("an answer of an orchestrator", || async {
            self.client.list(&ListRequest::default()).await.ok().map(drop)
        })
        .await;
    }

    /// Starts a worker and waits until it has made itself known.
    ///
    /// # Panics
    /// When its announcements cannot be heard.
    pub async fn worker(&self, setup: &WorkerSetup) -> Process {
        let nats = self.client.connection().client();
        let mut announcements =
            nats.subscribe("stepwell.default.worker.announce").await.expect("announcements can be heard");
        // The worker must not be quicker than the subscription.
        nats.flush().await.expect("the server answers");
        let process = self.worker_unheard(setup);
        let pid = process.pid().to_string();
        let says_pid =
            |host: &str| host.split(|character: char| !character.is_ascii_digit()).any(|it| it == pid);
        let known = async {
            while let Some(message) = announcements.next().await {
                let announcement = serde_json::from_slice::<Announcement>(&message.payload);
                if announcement.is_ok_and(|it| says_pid(&it.host) && !it.leaving) {
                    return;
                }
            }
        };
        in_time("the announcement of a worker", known).await;
        process
    }

    /// Starts a worker, without waiting.
    #[must_use]
    pub fn worker_unheard(&self, setup: &WorkerSetup) -> Process {
        let mut arguments = vec!["worker".to_owned(), "--folder".to_owned()];
        arguments.push(self.folder.path().to_string_lossy().into_owned());
        if let Some(queue) = &setup.queue {
            arguments.extend(["--queue".to_owned(), queue.clone()]);
        }
        arguments.extend(setup.arguments.iter().cloned());
        let mut connection = self.at(setup.login.as_ref().unwrap_or(&self.logins.worker));
        if let Some(url) = &setup.url {
            connection.nats_url.clone_from(url);
        }
        let folder = self.folder.path();
        Process::start_in("worker", &self.program, &arguments, &connection, folder, &setup.variables)
    }

    /// Makes the namespace and the consumer of queue `default`, changed in this way. For that there must be no
    /// orchestrator and no worker yet.
    ///
    /// # Panics
    /// When the server says no.
    pub async fn queue(&self, change: impl Fn(&mut pull::Config)) {
        let connection = self.client.connection();
        let wanted = ProvisionOptions { shards: Some(shards().count()), ..ProvisionOptions::default() };
        provision(connection, &wanted).await.expect("the namespace can be made");
        let queue = Name::new("default").expect("a valid name");
        for shard in shards().all() {
            let consumer = ensure_queue(connection, &queue, shard).await.expect("the consumer can be made");
            let config = consumer.cached_info().config.clone();
            let mut config = pull::Config::try_from_consumer_config(config).expect("it is pulled from");
            change(&mut config);
            let stream = Stream::Tasks(shard).name(connection.namespace());
            let changed = connection.jetstream().update_consumer_on_stream(config, stream).await;
            changed.expect("it can be changed");
        }
    }

    /// What the consumer of queue `default` has to do.
    ///
    /// # Panics
    /// When the server does not say.
    pub async fn queue_state(&self) -> Info {
        let connection = self.client.connection();
        let stream = Stream::Tasks(Shard::FIRST).name(connection.namespace());
        let consumer =
            connection.jetstream().get_consumer_from_stream::<pull::Config, _, _>("default", stream);
        consumer.await.expect("the consumer is there").cached_info().clone()
    }

    /// The newest task of the queue `default`, and where it lies.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn last_task(&self) -> Option<(Shard, StreamMessage)> {
        let connection = self.client.connection();
        let (namespace, queue) = (connection.namespace(), Name::new("default").expect("a valid name"));
        let mut newest: Option<(Shard, StreamMessage)> = None;
        for shard in connection.shards().await.expect("the namespace is there").all() {
            let stream = connection.jetstream().get_stream(Stream::Tasks(shard).name(namespace)).await;
            let task = subject::task(namespace, &queue, shard);
            let task = stream.expect("the stream is there").get_last_raw_message_by_subject(&task).await;
            let older =
                |task: &StreamMessage| newest.as_ref().is_none_or(|(_, newest)| newest.time < task.time);
            if let Some(task) = task.ok().filter(older) {
                newest = Some((shard, task));
            }
        }
        newest
    }

    /// The folder of the test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks the API, as any NATS client would.
    ///
    /// # Panics
    /// When nobody answers with JSON.
    pub async fn ask(&self, verb: &str, body: &Value) -> Value {
        let subject = format!("stepwell.default.api.{verb}");
        let request = self.client.connection().client().request(subject, body.to_string().into());
        let answer = in_time(verb, request).await.expect("an orchestrator answers");
        serde_json::from_slice(&answer.payload).expect("the answer is JSON")
    }

    /// Publishes to JetStream, as any NATS client would, and waits until it is stored.
    ///
    /// # Panics
    /// When it is not.
    pub async fn publish(&self, subject: &str, body: impl Into<Vec<u8>>) {
        let body: Vec<u8> = body.into();
        let sent = self.client.connection().jetstream().publish(subject.to_owned(), body.into()).await;
        sent.expect("it can be sent").await.expect("it is stored");
    }

    /// All runs.
    ///
    /// # Panics
    /// When the orchestrator does not list them.
    pub async fn runs(&self) -> Vec<RunSummary> {
        let request = ListRequest { limit: 10_000, ..ListRequest::default() };
        self.client.list(&request).await.expect("runs can be listed").runs
    }

    /// The runs that cannot go on.
    ///
    /// # Panics
    /// When the orchestrator does not list them.
    pub async fn stuck(&self) -> Vec<RunSummary> {
        let request = ListRequest { stuck: true, ..ListRequest::default() };
        self.client.list(&request).await.expect("runs can be listed").runs
    }

    /// Waits until the run of `id` shows up among those that cannot go on.
    pub async fn until_stuck(&self, id: &str) -> RunSummary {
        eventually(&format!("{id} in the list of stuck runs"), || async {
            self.stuck().await.into_iter().find(|run| run.workflow_id.as_str() == id)
        })
        .await
    }

    /// Waits until the description of a run fulfils a condition.
    pub async fn until_described<O>(
        &self,
        what: &str,
        handle: &WorkflowHandle<O>,
        condition: impl Fn(&Description) -> bool,
    ) -> Description {
        eventually(what, || async { handle.describe().await.ok().filter(&condition) }).await
    }

    /// The messages that were set aside, newest first, when there are so many.
    pub async fn rejected(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} messages set aside"), || async {
            let answer = self.ask("rejected", &json!({})).await;
            let list = answer["ok"]["rejected"].as_array().cloned().unwrap_or_default();
            (list.len() >= count).then_some(list)
        })
        .await
    }

    /// Checks everything that was recorded and done: see [`crate::checks`].
    ///
    /// # Panics
    /// When something is not as it must be.
    pub async fn check(&self) {
        let histories = self.histories().await;
        let codes = workflows::all(Version::Good);
        for (id, records) in &histories {
            let checked = check_history(records).and_then(|()| check_replay(records, &codes));
            if let Err(broken) = checked {
                let shown = serde_json::to_string_pretty(records).unwrap_or_default();
                let end = shown.len().min(20_000);
                panic!("the history of {id}: {broken}\n{}", shown.get(..end).unwrap_or_default());
            }
        }
        let histories: Vec<_> = histories.into_iter().map(|(_, records)| records).collect();
        let entries = self.ledger.read();
        let checked = check_ledger(&entries, &histories);
        let checked = if self.server_was_killed { checked } else { checked.and(check_attempts(&entries)) };
        checked.unwrap_or_else(|broken| panic!("the ledger: {broken}"));
    }

    /// The history of the latest run of every workflow.
    ///
    /// # Panics
    /// When one cannot be read.
    pub async fn histories(&self) -> Vec<(String, Vec<Record>)> {
        let runs = self.runs().await;
        let read = futures_util::stream::iter(runs.into_iter().map(|run| async move {
            let id = run.workflow_id.to_string();
            let handle = self.client.workflow_untyped(id.clone());
            let records = handle.history().await;
            (id, records.unwrap_or_else(|error| panic!("the history of {}: {error}", handle.id())))
        }));
        read.buffer_unordered(16).collect().await
    }
}
