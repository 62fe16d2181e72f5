//! Where global rate limits are counted.

use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo as _};

/// A store that speaks the Redis protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct RateLimitStore {
    /// Whether it is called over TLS.
    pub tls: bool,
    /// Host name or address, without port and brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who to log in as; none: the default user.
    pub user: Option<String>,
    /// The password, if there is one. Never printed.
    pub password: Option<String>,
    /// Number of the database.
    pub database: i64,
}

/// `--rate-limit-store` as it is typed. It may hold a password: whoever prints it prints only what it names.
#[derive(Clone)]
pub(super) struct StoreUrl(String);

impl From<String> for StoreUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.read() {
            Some(store) => store.fmt(formatter),
            None => formatter.write_str("no URL of a store"),
        }
    }
}

impl StoreUrl {
    /// Whether nothing was typed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it names; `None` if it is no such URL.
    pub(super) fn read(&self) -> Option<RateLimitStore> {
        let (scheme, rest) = self.0.split_once("://")?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let plain = !rest.contains(['?', '#']);
        let info = format!("redis://{rest}").into_connection_info().ok().filter(|_| plain)?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return None };
        let settings = info.redis_settings();
        let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (user, password) = (text(settings.username()), text(settings.password()));
        // A user without a password would not be logged in.
        let complete = user.is_none() || password.is_some();
        let valid = complete && !host.is_empty() && *port != 0 && settings.db() >= 0;
        valid.then(|| Self::named(tls, host, *port, user, password, settings.db()))
    }

    fn named(
        tls: bool,
        host: &str,
        port: u16,
        user: Option<String>,
        password: Option<String>,
        database: i64,
    ) -> RateLimitStore {
        RateLimitStore { tls, host: host.to_owned(), port, user, password, database }
    }
}

impl fmt::Display for RateLimitStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port, database, .. } = self;
        let scheme = if *tls { "rediss" } else { "redis" };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{open}{host}{close}:{port}/{database}")
    }
}

/// As people may see it: without user and password.
impl fmt::Debug for RateLimitStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RateLimitStore({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_passwords_never_shown() {
        for (url, shown, user, password) in [
            ("redis://cache", "redis://cache:6379/0", None, None),
            ("redis://:s%40cret@10.0.0.1:7000/3", "redis://10.0.0.1:7000/3", None, Some("s@cret")),
            ("rediss://mesh:s3cret@cache.test/1", "rediss://cache.test:6379/1", Some("mesh"), Some("s3cret")),
            ("redis://[::1]:6380", "redis://[::1]:6380/0", None, None),
        ] {
            let store = StoreUrl(url.to_owned()).read().unwrap();
            assert_eq!(store.to_string(), shown);
            assert_eq!((store.user.as_deref(), store.password.as_deref()), (user, password), "{url}");
            for printed in [format!("{store:?}"), format!("{:?}", StoreUrl(url.to_owned()))] {
                assert!(!printed.contains("cret") && !printed.contains("mesh"), "{printed}");
            }
        }
        for url in [
            "",
            "cache:6379",
            "http://cache",
            "redis://",
            "redis://cache/x",
            "redis://cache?x=1",
            "redis://a@cache",
            "unix:///run/redis",
        ] {
            assert_eq!(StoreUrl(url.to_owned()).read(), None, "{url}");
        }
    }
}
