//! Just enough HTTP to read a metrics or health endpoint of the same machine.

use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An address on this machine that was free a moment ago.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has an address").to_string()
}

/// Status and body of a GET; `None` when nobody answers there.
pub async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The value of a metric in a body of the Prometheus text format: the sum over all lines whose name is
/// `name` and that hold all of `labels` (such as `status="completed"`).
#[must_use]
pub fn metric(body: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let values = body.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let found = series.split('{').next()?;
        (found == name && labels.iter().all(|label| series.contains(label)))
            .then(|| value.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}
