//! A way over loopback that can be cut, blocked, slowed down: what lies between a process and its server. Every
//! connection is taken in here and made anew to the target; what passes and what is held up is counted, so
//! that a fault can be proved.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What is read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Chunks that are on their way in one direction of one connection; then the sender has to wait, as in a full
/// socket.
const CHUNKS_UNDER_WAY: usize = 64;

/// What happens to bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traffic {
    /// They pass.
    #[default]
    Passes,
    /// They are taken and held until it is over. Nobody is told.
    Held,
    /// They come later, and no faster than so many bytes in a second.
    Slow {
        /// How much later.
        delay: Duration,
        /// Most bytes in a second.
        bytes_per_second: u32,
    },
}

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// From the process to the server.
    pub up: Traffic,
    /// From the server to the process.
    pub down: Traffic,
    /// Every connection is reset, and new ones are, too.
    pub cut: bool,
    /// The connection that is left alone, by its number in the order in which they were made, from 0.
    pub spared: Option<usize>,
}

impl Condition {
    /// Nothing passes in either direction, and nobody is told.
    #[must_use]
    pub fn half_open() -> Self {
        Self { up: Traffic::Held, down: Traffic::Held, ..Self::default() }
    }

    /// Both directions are slow.
    #[must_use]
    pub fn slow(delay: Duration, bytes_per_second: u32) -> Self {
        let traffic = Traffic::Slow { delay, bytes_per_second };
        Self { up: traffic, down: traffic, ..Self::default() }
    }

    /// Connections are reset.
    #[must_use]
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// The same, but for the connection with this number, from 0.
    #[must_use]
    pub fn sparing(self, number: usize) -> Self {
        Self { spared: Some(number), ..self }
    }

    /// What it is for the connection with this number, from 0.
    fn of(self, number: usize) -> Self {
        if self.spared == Some(number) { Self::default() } else { self }
    }
}

/// What a link has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Bytes that were passed on.
    pub passed: u64,
    /// Bytes that had to wait because their direction was held.
    pub held: u64,
    /// Bytes that came late because their direction was slow.
    pub late: u64,
    /// Connections that were reset, those that were refused from the beginning included.
    pub reset: u64,
}

#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    held: AtomicU64,
    late: AtomicU64,
    reset: AtomicU64,
}

/// All ways of one process, with one state. Closed when it is dropped.
#[derive(Debug)]
pub struct Link {
    condition: Arc<watch::Sender<Condition>>,
    counters: Arc<Counters>,
    listeners: Vec<AbortHandle>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            condition: Arc::new(watch::Sender::default()),
            counters: Arc::default(),
            listeners: Vec::new(),
        }
    }
}

impl Link {
    /// Opens a port that leads to `target`, a port of the loopback interface, and returns it.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn open(&mut self, target: u16) -> std::io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (condition, counters) = (Arc::clone(&self.condition), Arc::clone(&self.counters));
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
        let task = tokio::spawn(async move {
            // With the task all its connections end.
            let mut connections = tokio::task::JoinSet::new();
            let mut number = 0;
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((client, _)) = accepted else { continue };
                        let (condition, counters) = (condition.subscribe(), Arc::clone(&counters));
                        connections.spawn(connection(number, client, target, condition, counters));
                        number += 1;
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        self.listeners.push(task.abort_handle());
        Ok(port)
    }

    /// Changes what happens to bytes from now on, those under way included.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { passed, held, late, reset } = &*self.counters;
        Counted { passed: read(passed), held: read(held), late: read(late), reset: read(reset) }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listeners.iter().for_each(AbortHandle::abort);
    }
}

async fn connection(
    number: usize,
    client: TcpStream,
    target: SocketAddr,
    mut condition: watch::Receiver<Condition>,
    counters: Arc<Counters>,
) {
    if condition.borrow().of(number).cut {
        counters.reset.fetch_add(1, Ordering::Relaxed);
        return reset(&client);
    }
    // What is half open takes connections, and only then nothing happens.
    let reachable = condition.wait_for(|it| it.of(number).cut || it.of(number).up != Traffic::Held).await;
    if reachable.map_or(true, |it| it.of(number).cut) {
        counters.reset.fetch_add(1, Ordering::Relaxed);
        return reset(&client);
    }
    let Ok(server) = TcpStream::connect(target).await else { return reset(&client) };
    // Neither side should wait for more bytes where the other would have had them at once.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // When it is cut, both ends must learn of it by a reset.
    if client.set_zero_linger().is_err() || server.set_zero_linger().is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let up = pump(from_client, to_server, condition.clone(), move |it| it.of(number).up, &counters);
    let down = pump(from_server, to_client, condition.clone(), move |it| it.of(number).down, &counters);
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = condition.wait_for(|it| it.of(number).cut) => {
            counters.reset.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn reset(stream: &TcpStream) {
    // It fails only when the other side has gone already.
    let _ = stream.set_zero_linger();
}

/// One direction of one connection, until either side ends it.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut condition: watch::Receiver<Condition>,
    direction: impl Fn(&Condition) -> Traffic,
    counters: &Counters,
) {
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Bytes)>(CHUNKS_UNDER_WAY);
    let now = condition.clone();
    let direction = &direction;
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let bytes = Bytes::copy_from_slice(&buffer[..count]);
            match direction(&now.borrow()) {
                Traffic::Passes => {}
                Traffic::Held => drop(counters.held.fetch_add(count as u64, Ordering::Relaxed)),
                Traffic::Slow { .. } => drop(counters.late.fetch_add(count as u64, Ordering::Relaxed)),
            }
            if under_way.send((Instant::now(), bytes)).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((arrived, bytes)) = arriving.recv().await {
            let Ok(now) =
                condition.wait_for(|it| direction(it) != Traffic::Held).await.map(|it| direction(&it))
            else {
                return;
            };
            if let Traffic::Slow { delay, bytes_per_second } = now {
                tokio::time::sleep_until(arrived + delay).await;
                let seconds = bytes.len() as f64 / f64::from(bytes_per_second.max(1));
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
            counters.passed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patience::{in_time, until};

    /// Something that sends back what it gets, and a link to it.
    async fn echo() -> (Link, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let mut link = Link::default();
        let port = link.open(target).await.unwrap();
        (link, port)
    }

    async fn connect(port: u16) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()
    }

    async fn send_and_get(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        get(stream, text.len()).await
    }

    async fn get(stream: &mut TcpStream, count: usize) -> std::io::Result<String> {
        let mut buffer = vec![0; count];
        in_time("an echo", stream.read_exact(&mut buffer)).await?;
        Ok(String::from_utf8(buffer).unwrap())
    }

    #[tokio::test]
    async fn bytes_pass() {
        let (link, port) = echo().await;
        let mut stream = connect(port).await;
        assert_eq!(send_and_get(&mut stream, "abc").await.unwrap(), "abc");
        assert_eq!(link.counted(), Counted { passed: 6, ..Counted::default() });
    }

    #[tokio::test]
    async fn what_is_cut_is_reset_and_works_again_afterwards() {
        let (link, port) = echo().await;
        let mut stream = connect(port).await;
        send_and_get(&mut stream, "abc").await.unwrap();
        link.set(Condition::cut());
        assert!(send_and_get(&mut stream, "abc").await.is_err());
        let refused = send_and_get(&mut connect(port).await, "abc").await;
        assert!(refused.is_err());
        until("both resets", || link.counted().reset == 2).await;
        link.set(Condition::default());
        assert_eq!(send_and_get(&mut connect(port).await, "abc").await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn what_is_held_comes_in_order_when_it_is_over() {
        let (link, port) = echo().await;
        let mut stream = connect(port).await;
        send_and_get(&mut stream, "a").await.unwrap();
        link.set(Condition { up: Traffic::Held, ..Condition::default() });
        stream.write_all(b"b").await.unwrap();
        until("a byte that is held", || link.counted().held == 1).await;
        // A new connection is taken, and nothing more.
        let mut second = connect(port).await;
        second.write_all(b"x").await.unwrap();
        assert_eq!(link.counted().passed, 2);
        link.set(Condition::default());
        assert_eq!(send_and_get(&mut stream, "c").await.unwrap(), "b");
        assert_eq!(get(&mut stream, 1).await.unwrap(), "c");
        assert_eq!(get(&mut second, 1).await.unwrap(), "x");
    }

    #[tokio::test]
    async fn one_direction_can_be_held_alone() {
        let (link, port) = echo().await;
        let mut stream = connect(port).await;
        link.set(Condition { down: Traffic::Held, ..Condition::default() });
        stream.write_all(b"abc").await.unwrap();
        until("the answer to be held", || link.counted().held == 3).await;
        assert_eq!(link.counted().passed, 3, "what was sent arrived");
        link.set(Condition::default());
        assert_eq!(get(&mut stream, 3).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn what_is_slow_arrives_and_is_counted() {
        let (link, port) = echo().await;
        let mut stream = connect(port).await;
        link.set(Condition::slow(Duration::from_millis(5), 1_000_000));
        assert_eq!(send_and_get(&mut stream, "abc").await.unwrap(), "abc");
        assert_eq!(link.counted().late, 6);
    }
}
