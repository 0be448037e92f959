//! Credentials that stand in a server's URL, as other NATS tools take them: `nats://user:password@host` or
//! `nats://token@host`. The client library parses them and does not use them.

use async_nats::ServerAddr;

/// Credentials of a URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// A user with a password.
    User(String, String),
    /// A token.
    Token(String),
}

/// The credentials of the first server that has any; all servers of a cluster share them.
pub(crate) fn login(servers: &[ServerAddr]) -> Option<Login> {
    servers.iter().find_map(|server| {
        let user = decoded(server.username()?);
        Some(match server.password() {
            Some(password) => Login::User(user, decoded(password)),
            None => Login::Token(user),
        })
    })
}

/// The servers without credentials. The client library logs the addresses that it tries, as they are.
pub(crate) fn without_logins(servers: Vec<ServerAddr>) -> std::io::Result<Vec<ServerAddr>> {
    let stripped = servers.into_iter().map(|server| {
        let mut url = server.into_inner();
        if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
            return Err(std::io::Error::other("a server's URL has no place for a host"));
        }
        ServerAddr::from_url(url)
    });
    stripped.collect()
}

/// With `%XX` read as bytes; what is no such thing stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(urls: &[&str]) -> Option<(String, Option<String>)> {
        let servers: Vec<ServerAddr> = urls.iter().map(|url| url.parse().unwrap()).collect();
        login(&servers).map(|login| match login {
            Login::User(user, password) => (user, Some(password)),
            Login::Token(token) => (token, None),
        })
    }

    #[test]
    fn credentials_are_read_from_urls() {
        assert_eq!(of(&["nats://a:4222", "b"]), None);
        assert_eq!(of(&["nats://joe:s%40cret%@a:1"]), Some(("joe".into(), Some("s@cret%".into()))));
        assert_eq!(of(&["nats://a", "nats://t0ken@b"]), Some(("t0ken".into(), None)));
    }

    #[test]
    fn what_is_given_to_the_library_has_no_credentials() {
        let urls = ["nats://joe:s%40cret@a:1", "tls://t0ken@b", "c:4222"];
        let servers = urls.map(|url| url.parse().unwrap()).to_vec();
        let bare = without_logins(servers).unwrap();
        let shown = format!("{bare:?}");
        assert!(!shown.contains("joe") && !shown.contains("cret") && !shown.contains("t0ken"), "{shown}");
        let hosts: Vec<(&str, u16)> = bare.iter().map(|server| (server.host(), server.port())).collect();
        assert_eq!(hosts, [("a", 1), ("b", 4222), ("c", 4222)]);
    }
}
