//! What a worker shows over HTTP.

use stepwell::ActivityCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{World, task, within};

#[tokio::test]
async fn metrics_and_health_are_served() {
    let world = World::new().await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let echo = ActivityCode::from_fn("echo", |_, input| async move { Ok(input) });
    let worker = world.worker().await.activity_code(echo).metrics(format!(":{port}"));
    let running = world.run(worker).await;
    let mut reports = world.reports().await;
    world.publish(&task("echo", 1, 1)).await;
    world.publish(&task("unknown", 2, 1)).await;
    for _ in 0..2 {
        reports.next().await;
    }
    world.until_empty().await;
    assert!(get(port, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(port, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(port, "/metrics").await;
    for line in [
        "stepwell_worker_activity_attempts_total{activity=\"echo\",outcome=\"completed\"} 1",
        "stepwell_worker_activity_attempts_total{activity=\"_unknown\",outcome=\"refused\"} 1",
        "stepwell_worker_activity_execution_seconds_count{activity=\"echo\"} 1",
        "stepwell_worker_activity_slots 16",
        "stepwell_worker_activity_slots_used 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line:?} in\n{metrics}");
    }
    running.end().await;
}

async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}
