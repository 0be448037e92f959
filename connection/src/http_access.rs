//! Who may read what a process serves over HTTP: everybody on this machine, who has a token, or everybody. Knows
//! no HTTP server; the processes have theirs.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use subtle::ConstantTimeEq;

/// Shortest token: what is shorter can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// Who may read what is served over HTTP beyond this machine.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct HttpOptions {
    /// File with a token that `/metrics` wants, as `Authorization: Bearer <token>`
    #[arg(long, env = "STEPWELL_HTTP_TOKEN_FILE", value_name = "FILE")]
    pub http_token_file: Option<PathBuf>,

    /// Let everybody who reaches the address read `/metrics`
    #[arg(long, env = "STEPWELL_HTTP_OPEN")]
    pub http_open: bool,
}

/// Whom to let in.
#[derive(Clone)]
pub struct HttpAccess(Option<String>);

impl HttpOptions {
    /// What the environment says, for processes without such options.
    #[must_use]
    pub fn from_env() -> Self {
        let open = std::env::var("STEPWELL_HTTP_OPEN").is_ok_and(|value| value == "true" || value == "1");
        Self {
            http_token_file: std::env::var_os("STEPWELL_HTTP_TOKEN_FILE").map(PathBuf::from),
            http_open: open,
        }
    }

    /// Whom to let in at `address`.
    ///
    /// # Errors
    /// What to do, when others than this machine reach the address and nothing is said of them; when the token
    /// cannot be read, or is shorter than 16 bytes.
    pub fn access(&self, address: SocketAddr) -> Result<HttpAccess, String> {
        if let Some(path) = &self.http_token_file {
            let read = std::fs::read_to_string(path);
            let token =
                read.map_err(|error| format!("cannot read the token in {}: {error}", path.display()))?;
            let token = token.trim();
            if token.len() < MIN_TOKEN_BYTES {
                return Err(format!(
                    "the token in {} has {} bytes; it needs {MIN_TOKEN_BYTES}",
                    path.display(),
                    token.len()
                ));
            }
            return Ok(HttpAccess(Some(token.to_owned())));
        }
        if self.http_open || address.ip().is_loopback() {
            return Ok(HttpAccess(None));
        }
        Err("others than this machine reach this address. Give a token with --http-token-file \
             (STEPWELL_HTTP_TOKEN_FILE), or let everybody in with --http-open (STEPWELL_HTTP_OPEN=true), or \
             listen on 127.0.0.1"
            .to_owned())
    }
}

impl HttpAccess {
    /// Whether a request with this `Authorization` may read; in constant time.
    #[must_use]
    pub fn allows(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = &self.0 else { return true };
        let shown = authorization.and_then(|header| header.strip_prefix(b"Bearer ")).unwrap_or_default();
        shown.ct_eq(token.as_bytes()).into()
    }
}

impl fmt::Debug for HttpAccess {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "HttpAccess(token)" } else { "HttpAccess(open)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:9090";
    const ANYWHERE: &str = "0.0.0.0:9090";

    fn at(address: &str, options: &HttpOptions) -> Result<HttpAccess, String> {
        options.access(address.parse().unwrap())
    }

    #[test]
    fn only_this_machine_is_let_in_without_a_word() {
        assert!(at(LOOPBACK, &HttpOptions::default()).unwrap().allows(None));
        assert!(at("[::1]:9090", &HttpOptions::default()).unwrap().allows(None));
        for address in [ANYWHERE, "[::]:9090", "192.0.2.7:9090"] {
            let refused = at(address, &HttpOptions::default()).unwrap_err();
            assert!(refused.contains("--http-token-file") && refused.contains("--http-open"), "{refused}");
        }
        let open = HttpOptions { http_open: true, ..HttpOptions::default() };
        assert!(at(ANYWHERE, &open).unwrap().allows(None));
    }

    #[test]
    fn a_token_is_wanted_everywhere_and_shown_nowhere() {
        let path = std::env::temp_dir().join(format!("stepwell-token-{}", std::process::id()));
        let options = HttpOptions { http_token_file: Some(path.clone()), http_open: false };
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        for address in [LOOPBACK, ANYWHERE] {
            let access = at(address, &options).unwrap();
            assert!(access.allows(Some(b"Bearer 0123456789abcdef")));
            for wrong in
                ["", "Bearer ", "0123456789abcdef", "Bearer 0123456789abcde", "Bearer 0123456789abcdeg"]
            {
                assert!(!access.allows(Some(wrong.as_bytes())), "{wrong}");
            }
            assert!(!access.allows(None));
            assert!(!format!("{access:?}").contains("0123"));
        }
        std::fs::write(&path, "short").unwrap();
        assert!(at(ANYWHERE, &options).unwrap_err().contains("needs 16"));
        std::fs::remove_file(&path).unwrap();
        assert!(at(ANYWHERE, &options).unwrap_err().contains("cannot read the token"));
    }
}
