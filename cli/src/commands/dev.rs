//! `stepwell dev`: a NATS server as a child process and an orchestrator in this one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use stepwell_connection::{ConnectionOptions, HttpOptions};
use stepwell_nats_server::{NatsServer, StartError, find};
use stepwell_orchestrator::{Options, OrchestratorError};
use stepwell_shared::api::WorkersAnswer;
use stepwell_shared::ids::Namespace;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::orchestrator::failed;
use crate::api::Api;
use crate::exit::{Exit, Failure};
use crate::{output, shutdown};

/// How often the API is asked whether it is there.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// How often the server is looked after.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Longest wait for the orchestrator's end.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct DevArgs {
    /// Keep everything in this folder; without it nothing is left afterwards
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The NATS server's port on this machine; 0 for a free one
    #[arg(long, default_value_t = 4222)]
    port: u16,

    /// Address for metrics and health checks; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    listen: SocketAddr,

    /// Who may read what is served there
    #[command(flatten)]
    http: HttpOptions,
}

const HELP: &str = "\
nats-server 2.12 or newer must be on PATH, or STEPWELL_NATS_SERVER must name it. The server listens on \
this machine only. Other --nats options are of no use here. Ends on ctrl-c. With STEPWELL_LOG=info the orchestrator \
logs what it does.

Examples:
  stepwell dev
  stepwell dev --data ./stepwell-data --port 0";

pub(crate) async fn run(args: DevArgs, namespace: &Namespace) -> Result<(), Failure> {
    let shutdown = shutdown::on_signal()?;
    let mut server = start_server(&args).await?;
    let connection =
        ConnectionOptions { namespace: namespace.clone(), ..ConnectionOptions::to_url(&server.url()) };
    let options = Options { listen: args.listen, http: args.http.clone(), ..Options::default() };
    let mut orchestrator = {
        let (connection, shutdown) = (connection.clone(), shutdown.clone());
        tokio::spawn(async move { stepwell_orchestrator::run(&connection, options, shutdown).await })
    };
    let greeting = greeting(&connection, &args);
    let served = tokio::select! {
        ended = &mut orchestrator => Err(match joined(ended) {
            Ok(()) => Failure::new(Exit::Failure, "the orchestrator ended by itself"),
            Err(failure) => failure,
        }),
        served = serve(&connection, &greeting, &mut server, &shutdown) => served,
    };
    shutdown.cancel();
    let stopped = stop(orchestrator).await;
    // Last, so that the orchestrator could still give back what it held.
    let server_stopped = tokio::task::spawn_blocking(move || server.stop()).await;
    let server_stopped = server_stopped.map_err(|error| Failure::new(Exit::Failure, error.to_string()));
    served.and(stopped).and(server_stopped)
}

async fn start_server(args: &DevArgs) -> Result<NatsServer, Failure> {
    let binary = find().map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    let mut builder = NatsServer::builder(binary).port((args.port != 0).then_some(args.port));
    if let Some(data) = &args.data {
        builder = builder.store_dir(data);
    }
    let started = tokio::task::spawn_blocking(move || builder.start()).await;
    let started = started.map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    started.map_err(|error| {
        let taken =
            matches!(&error, StartError::Ended { tail, .. } if tail.contains("address already in use"));
        if taken {
            let text = "is taken, maybe by another NATS server; --port 0 finds a free one";
            return Failure::new(Exit::Conflict, format!("port {} {text}", args.port));
        }
        Failure::new(Exit::Failure, error.to_string())
    })
}

/// Says what to do once everything is there, and looks after the server until the end is asked for.
async fn serve(
    connection: &ConnectionOptions,
    greeting: &str,
    server: &mut NatsServer,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let ready = async {
        wait_until_ready(connection).await?;
        // Whoever reads it may have gone away; there is work to do all the same.
        let _ = output::print(greeting);
        std::future::pending().await
    };
    tokio::pin!(ready);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            failed = &mut ready => return failed,
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        if !server.running() {
            let text = format!("nats-server ended by itself; the end of its log:\n{}", server.log_tail());
            return Err(Failure::new(Exit::Failure, text));
        }
    }
}

async fn wait_until_ready(connection: &ConnectionOptions) -> Result<(), Failure> {
    let api = Api::connect(connection).await?;
    loop {
        match api.call::<WorkersAnswer>("workers", &json!({})).await {
            Ok(_) => return Ok(()),
            Err(failure) if matches!(failure.exit(), Exit::Unavailable | Exit::Timeout) => {
                tokio::time::sleep(READY_INTERVAL).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn greeting(connection: &ConnectionOptions, args: &DevArgs) -> String {
    let data = match &args.data {
        Some(folder) => format!("{} (kept)", folder.display()),
        None => "temporary; --data DIR keeps it".to_owned(),
    };
    let metrics = match args.listen.port() {
        0 => String::new(), // The log says which one was free.
        _ => format!("\n  metrics      http://{}/metrics", args.listen),
    };
    let url = &connection.nats_url;
    // What a second terminal needs to be told, when it is not what is assumed there.
    let more = [
        (url != &ConnectionOptions::default().nats_url).then(|| format!(" --nats-url {url}")),
        (connection.namespace != Namespace::default())
            .then(|| format!(" --namespace {}", connection.namespace)),
    ];
    let more: String = more.into_iter().flatten().collect();
    format!(
        "Stepwell is ready.
  NATS         {url}
  namespace    {}
  data         {data}{metrics}

Next, in another terminal:
  run a worker with your workflows (NATS_URL={url}), then
  stepwell{more} start TYPE --id ID --wait
  stepwell{more} list
  stepwell{more} doctor

ctrl-c ends it.",
        connection.namespace
    )
}

async fn stop(orchestrator: JoinHandle<Result<(), OrchestratorError>>) -> Result<(), Failure> {
    if orchestrator.is_finished() {
        return Ok(()); // Its end was the reason, and has been told.
    }
    match tokio::time::timeout(STOP_TIMEOUT, orchestrator).await {
        Ok(ended) => joined(ended),
        Err(_) => {
            let text =
                format!("the orchestrator did not end within {} s; nothing is lost", STOP_TIMEOUT.as_secs());
            Err(Failure::new(Exit::Failure, text))
        }
    }
}

fn joined(ended: Result<Result<(), OrchestratorError>, JoinError>) -> Result<(), Failure> {
    match ended {
        Ok(outcome) => outcome.map_err(failed),
        Err(error) => Err(Failure::new(Exit::Failure, format!("the orchestrator broke down: {error}"))),
    }
}
