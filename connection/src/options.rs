//! How to reach NATS: the options that every Stepwell process takes, on the command line or from the
//! environment, under the names that other NATS tools use.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use stepwell_shared::ids::Namespace;
use thiserror::Error;

use crate::connection::{Connection, Heard};
use crate::login::{Login, login, without_logins};

/// Where a server is looked for when nothing is said.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// Longest wait for one try to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait between two tries to connect again. A restarted server is found by everybody within this time,
/// and a few tries a second cost it nothing.
pub const LONGEST_RECONNECT_WAIT: Duration = Duration::from_secs(1);

/// How often the server is asked whether it is still there. A dead link is noticed after two of them.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// First and longest wait between two tries to connect, in [`ConnectionOptions::connect_patiently`].
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// How to reach NATS, and which namespace.
#[derive(clap::Args, Clone)]
pub struct ConnectionOptions {
    /// NATS servers, separated by commas
    #[arg(
        long = "nats-url",
        env = "NATS_URL",
        value_name = "URL",
        default_value = DEFAULT_URL,
        hide_env_values = true,
        global = true,
        help_heading = "Connection"
    )]
    pub nats_url: String,

    /// Namespace; namespaces do not see each other
    #[arg(
        long,
        env = "STEPWELL_NAMESPACE",
        value_name = "NAME",
        default_value_t = Namespace::default(),
        global = true,
        help_heading = "Connection"
    )]
    pub namespace: Namespace,

    /// Credentials file (.creds) with JWT and seed
    #[arg(
        long,
        env = "NATS_CREDS",
        value_name = "FILE",
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_creds: Option<PathBuf>,

    /// User name
    #[arg(
        long,
        env = "NATS_USER",
        value_name = "NAME",
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_user: Option<String>,

    /// Password; prefer the variable, a command line is visible to others
    #[arg(
        long,
        env = "NATS_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_password: Option<String>,

    /// Token; prefer the variable, a command line is visible to others
    #[arg(
        long,
        env = "NATS_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_token: Option<String>,

    /// File with an NKey seed
    #[arg(
        long,
        env = "NATS_NKEY",
        value_name = "FILE",
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_nkey: Option<PathBuf>,

    /// Certificates of authorities to trust, in PEM form
    #[arg(
        long,
        env = "NATS_CA",
        value_name = "FILE",
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_ca: Option<PathBuf>,

    /// Client certificate in PEM form; needs --nats-key
    #[arg(
        long,
        env = "NATS_CERT",
        value_name = "FILE",
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_cert: Option<PathBuf>,

    /// Key of the client certificate in PEM form; needs --nats-cert
    #[arg(
        long,
        env = "NATS_KEY",
        value_name = "FILE",
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_key: Option<PathBuf>,

    /// Speak TLS before the server's greeting, as its `handshake_first` wants it
    #[arg(long, env = "NATS_TLS_FIRST", global = true, help_heading = "Connection", hide_short_help = true)]
    pub nats_tls_first: bool,

    /// Prefix of inboxes, when permissions allow only one of the user's own
    #[arg(
        long,
        env = "NATS_INBOX_PREFIX",
        value_name = "SUBJECT",
        global = true,
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub nats_inbox_prefix: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// An option makes no sense.
    #[error("{option}: {reason}")]
    Option {
        /// Which option.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there.
    #[error("no NATS server answers at {url}: {reason}; is it running, and is --nats-url (NATS_URL) right?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The server does not let us in.
    #[error(
        "the NATS server at {url} refused the login: {reason}; check --nats-creds, --nats-user, --nats-token, --nats-nkey or --nats-cert"
    )]
    Refused {
        /// Where.
        url: String,
        /// What the server said.
        reason: String,
    },
    /// TLS could not be agreed on.
    #[error(
        "cannot speak TLS with the NATS server at {url}: {reason}; check --nats-ca, --nats-cert and --nats-key"
    )]
    Tls {
        /// Where.
        url: String,
        /// What went wrong.
        reason: String,
    },
}

impl ConnectError {
    /// Whether the same try may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Option { .. } | Self::Refused { .. } | Self::Tls { .. } => false,
        }
    }
}

impl ConnectionOptions {
    /// No credentials, the default namespace, the servers at `url`.
    #[must_use]
    pub fn to_url(url: &str) -> Self {
        Self { nats_url: url.to_owned(), ..Self::default() }
    }

    /// Connects, once. After that the connection repairs itself for ever.
    ///
    /// # Errors
    /// [`ConnectError`] says what to check.
    pub async fn connect(&self, client_name: &str) -> Result<Connection, ConnectError> {
        let servers = self.servers()?;
        let heard = Heard::default();
        let options = self.client_options(client_name, heard.clone(), login(&servers)).await?;
        let servers = without_logins(servers).map_err(|error| wrong("--nats-url", error))?;
        let client = options.connect(servers).await.map_err(|error| self.not_connected(&error))?;
        let started = Connection::start(client, self.namespace.clone(), heard).await;
        started.map_err(|error| ConnectError::Unreachable {
            url: self.display_url(),
            reason: format!("the connection was lost again: {error}"),
        })
    }

    /// As [`ConnectionOptions::connect`], and waits for a server to come up. Drop the future to give up.
    ///
    /// # Errors
    /// Only what waiting does not cure: wrong options, refused credentials, TLS.
    pub async fn connect_patiently(&self, client_name: &str) -> Result<Connection, ConnectError> {
        let mut wait = FIRST_RETRY;
        loop {
            match self.connect(client_name).await {
                Ok(connection) => return Ok(connection),
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, retry_in = ?wait, "waiting for NATS");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_RETRY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The servers, with user names and passwords taken out.
    #[must_use]
    pub fn display_url(&self) -> String {
        let without_secrets = |url: &str| match (url.find("://"), url.rfind('@')) {
            (Some(scheme), Some(at)) => format!("{}://{}", &url[..scheme], &url[at + 1..]),
            (None, Some(at)) => url[at + 1..].to_owned(),
            (_, None) => url.to_owned(),
        };
        self.nats_url.split(',').map(|url| without_secrets(url.trim())).collect::<Vec<_>>().join(",")
    }

    fn servers(&self) -> Result<Vec<ServerAddr>, ConnectError> {
        let urls = self.nats_url.split(',').map(str::trim).filter(|url| !url.is_empty());
        let servers: Result<Vec<ServerAddr>, _> = urls.map(str::parse).collect();
        let servers = servers.map_err(|error: std::io::Error| wrong("--nats-url", error))?;
        if servers.is_empty() {
            return Err(wrong("--nats-url", "no server is given"));
        }
        Ok(servers)
    }

    async fn client_options(
        &self,
        client_name: &str,
        heard: Heard,
        in_url: Option<Login>,
    ) -> Result<ConnectOptions, ConnectError> {
        let mut options = ConnectOptions::new()
            .name(client_name)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(reconnect_wait)
            // Every subject is built by `stepwell_shared::subject`; checking each again costs time.
            .skip_subject_validation(true)
            .event_callback(move |event| {
                log(&event);
                listen(&event, &heard);
                async {}
            });
        // What is said beside the URL goes before what is said in it.
        match in_url {
            Some(Login::User(user, password)) if self.nats_user.is_none() => {
                options = options.user_and_password(user, password);
            }
            Some(Login::Token(token)) => options = options.token(token),
            Some(Login::User(..)) | None => {}
        }
        if let Some(path) = &self.nats_creds {
            let read = options.credentials_file(path).await;
            options = read.map_err(|error| wrong("--nats-creds", format!("{}: {error}", path.display())))?;
        }
        if let Some(path) = &self.nats_nkey {
            let read = tokio::fs::read_to_string(path).await;
            let seed = read.map_err(|error| wrong("--nats-nkey", format!("{}: {error}", path.display())))?;
            options = options.nkey(seed.trim().to_owned());
        }
        match (&self.nats_user, &self.nats_password) {
            (Some(user), password) => {
                options = options.user_and_password(user.clone(), password.clone().unwrap_or_default());
            }
            (None, Some(_)) => return Err(wrong("--nats-password", "there is no --nats-user to it")),
            (None, None) => {}
        }
        if let Some(token) = &self.nats_token {
            options = options.token(token.clone());
        }
        if let Some(prefix) = &self.nats_inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        self.with_tls(options)
    }

    fn with_tls(&self, mut options: ConnectOptions) -> Result<ConnectOptions, ConnectError> {
        if let Some(path) = &self.nats_ca {
            options = options.add_root_certificates(readable("--nats-ca", path)?);
        }
        match (&self.nats_cert, &self.nats_key) {
            (Some(cert), Some(key)) => {
                let (cert, key) = (readable("--nats-cert", cert)?, readable("--nats-key", key)?);
                options = options.add_client_certificate(cert, key);
            }
            (Some(_), None) => return Err(wrong("--nats-cert", "there is no --nats-key to it")),
            (None, Some(_)) => return Err(wrong("--nats-key", "there is no --nats-cert to it")),
            (None, None) => {}
        }
        Ok(if self.nats_tls_first { options.tls_first() } else { options })
    }

    fn not_connected(&self, error: &async_nats::ConnectError) -> ConnectError {
        let (url, reason) = (self.display_url(), error.to_string());
        match error.kind() {
            ConnectErrorKind::ServerParse => ConnectError::Option { option: "--nats-url", reason },
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                ConnectError::Refused { url, reason }
            }
            // The server ended the handshake: it wants another client certificate than ours.
            ConnectErrorKind::Tls | ConnectErrorKind::Io if reason.contains("received fatal alert") => {
                ConnectError::Refused { url, reason }
            }
            ConnectErrorKind::Tls => ConnectError::Tls { url, reason },
            // A certificate that is not trusted comes as a failure of the connection.
            ConnectErrorKind::Io if reason.to_ascii_lowercase().contains("certificate") => {
                ConnectError::Tls { url, reason }
            }
            ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => ConnectError::Unreachable { url, reason },
        }
    }
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            nats_url: DEFAULT_URL.to_owned(),
            namespace: Namespace::default(),
            nats_creds: None,
            nats_user: None,
            nats_password: None,
            nats_token: None,
            nats_nkey: None,
            nats_ca: None,
            nats_cert: None,
            nats_key: None,
            nats_tls_first: false,
            nats_inbox_prefix: None,
        }
    }
}

impl fmt::Debug for ConnectionOptions {
    /// Secrets are left out, so that options can be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "<hidden>");
        f.debug_struct("ConnectionOptions")
            .field("nats_url", &self.display_url())
            .field("namespace", &self.namespace)
            .field("nats_creds", &self.nats_creds)
            .field("nats_user", &self.nats_user)
            .field("nats_password", &hidden(&self.nats_password))
            .field("nats_token", &hidden(&self.nats_token))
            .field("nats_nkey", &self.nats_nkey)
            .field("nats_ca", &self.nats_ca)
            .field("nats_cert", &self.nats_cert)
            .field("nats_key", &self.nats_key)
            .field("nats_tls_first", &self.nats_tls_first)
            .field("nats_inbox_prefix", &self.nats_inbox_prefix)
            .finish()
    }
}

/// How long to wait before a lost connection is tried for the `attempts`th time.
fn reconnect_wait(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let wait = Duration::from_millis(2_u64.saturating_pow(doublings));
    if attempts <= 1 { Duration::ZERO } else { wait.min(LONGEST_RECONNECT_WAIT) }
}

fn wrong(option: &'static str, reason: impl fmt::Display) -> ConnectError {
    ConnectError::Option { option, reason: reason.to_string() }
}

fn readable(option: &'static str, path: &PathBuf) -> Result<PathBuf, ConnectError> {
    // The client opens it much later and then says less.
    match std::fs::File::open(path) {
        Ok(_) => Ok(path.clone()),
        Err(error) => Err(wrong(option, format!("{}: {error}", path.display()))),
    }
}

fn listen(event: &Event, heard: &Heard) {
    match event {
        Event::Connected => heard.trouble.clear(),
        Event::ServerError(error) => heard.complaint.set(error.to_string()),
        Event::ClientError(error) => heard.trouble.set(error.to_string()),
        Event::Disconnected
        | Event::LameDuckMode
        | Event::Draining
        | Event::Closed
        | Event::SlowConsumer(_) => {}
    }
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("connection to NATS lost; reconnecting"),
        Event::LameDuckMode => tracing::warn!("the NATS server is about to shut down"),
        Event::Draining | Event::Closed => tracing::debug!(%event, "connection to NATS"),
        Event::SlowConsumer(subscription) => {
            tracing::error!(subscription, "messages were dropped: this process does not keep up");
        }
        Event::ServerError(error) => tracing::error!(%error, "the NATS server complained"),
        Event::ClientError(error) => tracing::warn!(%error, "the NATS client complained"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let options = ConnectionOptions {
            nats_password: Some("secret-1".into()),
            nats_token: Some("secret-2".into()),
            ..ConnectionOptions::to_url("nats://joe:secret-3@a:1, joe:secret-4@b:2,nats://c:3")
        };
        let shown = format!("{options:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(options.display_url(), "nats://a:1,b:2,nats://c:3");
    }

    #[tokio::test]
    async fn half_a_pair_is_refused() {
        let with = |change: fn(&mut ConnectionOptions)| {
            let mut options = ConnectionOptions::default();
            change(&mut options);
            options
        };
        let cases = [
            (with(|o| o.nats_password = Some("x".into())), "--nats-password: there is no --nats-user to it"),
            (with(|o| o.nats_key = Some("x".into())), "--nats-key: there is no --nats-cert to it"),
            (with(|o| o.nats_cert = Some("x".into())), "--nats-cert: there is no --nats-key to it"),
            (with(|o| o.nats_url = " , ".into()), "--nats-url: no server is given"),
        ];
        for (options, text) in cases {
            let error = options.connect("test").await.unwrap_err();
            assert_eq!(error.to_string(), text);
            assert!(!error.retryable());
        }
    }
}
