//! Reading what streams hold, with the time at which the server stored it.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use stepwell_connection::Connection;
use stepwell_connection::page::read_page;
use stepwell_shared::subject::Stream;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The header in which the server says when it stored a message.
const TIME_STAMP: &str = "Nats-Time-Stamp";

/// A stored message.
pub(crate) struct Stored {
    pub(crate) subject: String,
    /// When it was stored, in nanoseconds since 1970 of the server's clock.
    pub(crate) at_ns: i128,
    pub(crate) body: Bytes,
}

/// Reads what a stream holds on subjects that match, from one sequence to another, oldest first, and hands
/// each to `take`.
pub(crate) async fn read(
    connection: &Connection,
    stream: Stream,
    subject: &str,
    (from, to): (u64, u64),
    mut take: impl FnMut(Stored) -> Result<()>,
) -> Result<()> {
    let mut next = from;
    while next <= to {
        let page = read_page(connection, stream, subject, next).await?;
        for message in page.messages {
            next = message.sequence + 1;
            if message.sequence > to {
                break;
            }
            let headers = message.headers.context("a stored message without headers")?;
            let stamp = headers.get(TIME_STAMP).context("a stored message without its time")?;
            let at_ns = OffsetDateTime::parse(stamp.as_str(), &Rfc3339)?.unix_timestamp_nanos();
            take(Stored { subject: message.subject, at_ns, body: message.body })?;
        }
        if !page.more {
            break;
        }
    }
    Ok(())
}
