//! What the NATS server does not allow. It does not say so in an answer: the request just gets none, and the connection
//! hears a complaint.

use stepwell_connection::Connection;

use crate::exit::{Exit, Failure};

/// The server's complaint about a missing permission, if it had one.
pub(crate) fn heard(connection: &Connection) -> Option<String> {
    connection.complaint().filter(|complaint| complaint.to_lowercase().contains("permissions violation"))
}

/// The failure, as one of permissions if the server complained about a missing one. `role` has all that are wanted.
pub(crate) fn explained(failure: Failure, connection: &Connection, role: &str) -> Failure {
    let Some(complaint) = heard(connection) else { return failure };
    let text = format!(
        "{}; NATS does not allow it: {complaint}. `stepwell auth print --role {role}` prints what is wanted",
        failure.message()
    );
    Failure::new(Exit::Permission, text)
}
