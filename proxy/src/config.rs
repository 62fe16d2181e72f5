//! How a proxy is started. [`Config::read`] takes each setting from the first place that names it: the command line, an
//! `OUTRIGGER_*` variable, the file of `--config`, a default. What comes out is checked: nothing later has to ask again
//! whether an address or a key makes sense. `main` calls it once, prints [`ConfigError`] and ends with its exit code.

mod access_log;
mod check;
mod duration;
mod flags;
mod forward;
mod identity;
mod layers;
mod otlp;
mod place;
mod rate_limit_store;
mod target;
mod traces;
mod transparent;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_snapshot::keys::PublicKey;
use outrigger_snapshot::name::ServiceName;

use crate::telemetry::detail::Detail;

pub use access_log::{AccessLog, OtlpLog};
pub use flags::{OBJECT_STORE_POLL, POLL_MAX, POLL_MIN, WORKERS_MAX};
pub use forward::{FORWARDS_MAX, Forward, InboundPort};
pub use identity::{CertificateAuthority, IdentityFrom, TokenFrom, TokenFromError, WorkloadSocket};
pub use layers::Origin;
pub use otlp::{ClientFiles, Otlp, OtlpProtocol};
pub use place::Place;
pub use rate_limit_store::RateLimitStore;
pub use target::{App, Collector, ReportTarget};
pub use traces::Traces;
pub use transparent::{Transparent, UnknownDestinations};

/// What a proxy needs to know before it has seen a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where snapshots are read: a folder or the URL of a bucket. The path of a folder is absolute.
    pub store: String,
    /// The service that this proxy stands beside, or the gateway that it is: its scope.
    pub service: ServiceName,
    /// Names this proxy among those beside the service.
    pub node: String,
    /// Where this proxy runs, for endpoints nearby.
    pub zone: Option<String>,
    /// Where the application's calls are taken; `None`: this is a gateway, which has none.
    pub outbound: Option<Place>,
    /// The address that the ports of the gateway are opened on, if this is one.
    pub gateway: Option<IpAddr>,
    /// Addresses and networks of those whose word counts at a gateway about where a request comes from.
    pub trusted: Vec<String>,
    /// The folder with the certificates that are shown to those outside the mesh, if there is one.
    pub certificates: Option<PathBuf>,
    /// Where calls to the application are taken, if at all.
    pub inbound: Option<Inbound>,
    /// How intercepted connections are treated, if there are any.
    pub transparent: Option<Transparent>,
    /// Listeners for calls to the application that are for one port of its service.
    pub inbound_ports: Vec<InboundPort>,
    /// Addresses and networks of proxies that say for whom they connect to the application.
    pub proxy_protocol_from: Vec<String>,
    /// Where the application's connections are taken that are not looked into.
    pub forwards: Vec<Forward>,
    /// Where the admin endpoints are served.
    pub admin: SocketAddr,
    /// Where metrics and readiness are served.
    pub metrics: SocketAddr,
    /// What survives a restart.
    pub state: StateFolder,
    /// Threads that carry traffic.
    pub workers: NonZeroUsize,
    /// Memory that the process may have, in bytes; `None`: what its control group says.
    pub memory_max_bytes: Option<u64>,
    /// How often the store is read, on average.
    pub poll: Duration,
    /// Keys whose releases are run. Empty: those of the store when it is first read, if [`Config::trusts_on_first_use`].
    pub trust_keys: Vec<PublicKey>,
    /// Where the certificate comes from that proves who this proxy is, if it has one.
    pub identity: Option<IdentityFrom>,
    /// Where reports go, if anywhere.
    pub report: Option<ReportTarget>,
    /// Where global rate limits are counted, if anywhere.
    pub rate_limit_store: Option<RateLimitStore>,
    /// The access log, if there is one.
    pub access_log: Option<AccessLog>,
    /// Where traces go, if anywhere.
    pub traces: Option<Traces>,
    /// How long a downstream connection may take for what.
    pub downstream: Downstream,
    /// How the end goes.
    pub drain: Drain,
    /// How finely metrics are told apart.
    pub detail: Detail,
    /// DNS servers instead of the system's. Empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Which events are logged, in the syntax of `RUST_LOG`.
    pub log: String,
}

/// Calls to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Where they are taken.
    pub listen: SocketAddr,
    /// Where they go.
    pub app: App,
}

/// How long a downstream connection may take for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downstream {
    /// Between two requests, and before the first.
    pub idle: Duration,
    /// For a request head, from its first byte.
    pub head: Duration,
    /// For all of its requests, over HTTP/2.
    pub age: Duration,
    /// Until its first bytes say what it speaks, where that may be something else than HTTP.
    pub detect: Duration,
}

/// How a drain goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// New connections are still taken for so long: until everyone knows that this proxy goes.
    pub grace: Duration,
    /// What still runs this long after the beginning of the drain is cut. Never less than the grace.
    pub deadline: Duration,
}

/// The folder for what survives a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder {
    /// Where it is. It need not exist yet.
    pub path: PathBuf,
    /// Whether it survives a restart of the machine. Only the default below the system's temporary folder does not.
    pub persistent: bool,
}

/// Why a proxy can't be started as asked.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A wrong command line, or a request for help or the version: `clap` knows how to print it.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A variable or a line of the file does not say what its flag takes.
    #[error("{origin}: {problem}")]
    Setting {
        /// Where it stands.
        origin: Origin,
        /// What is wrong with it.
        problem: String,
    },
    /// The file sets what is no flag.
    #[error("{origin}: unknown key {key:?}{}; the keys are the flags without their dashes (--help lists them)", suggestion(.nearest.as_deref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The flag that it resembles.
        nearest: Option<String>,
    },
    /// The file can't be read.
    #[error("can't read the bootstrap file {} (--config)", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be one.
    #[error("the bootstrap file {} (--config) is larger than {max} bytes: is it the right one?", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The bound.
        max: u64,
    },
    /// The file is not TOML.
    #[error("the bootstrap file {} (--config) is not TOML", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A flag is missing, or two don't go together.
    #[error("{0}")]
    Combination(String),
}

impl ConfigError {
    /// What the process ends with: 0 after `--help`, 2 for anything that has to be set otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) if !error.use_stderr() => 0,
            Self::Usage(_)
            | Self::Setting { .. }
            | Self::UnknownKey { .. }
            | Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::Syntax { .. }
            | Self::Combination(_) => 2,
        }
    }
}

impl Config {
    /// Reads `arguments` (the program's name first), the variables that `environment` knows, and the file that one of them
    /// names.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let flags = layers::flags(arguments.into_iter().collect(), &environment)?;
        check::config(flags, &environment)
    }

    /// Whether the store is a folder.
    pub fn reads_a_folder(&self) -> bool {
        target::is_folder(&self.store)
    }

    /// Whether the keys found in the store at the first start are believed from then on. Whoever may write the folder then
    /// decides anyway, and what is learned must not be forgotten at the next start.
    pub fn trusts_on_first_use(&self) -> bool {
        self.trust_keys.is_empty() && self.reads_a_folder() && self.state.persistent
    }
}

fn suggestion(flag: Option<&str>) -> String {
    flag.map_or_else(String::new, |flag| format!(", did you mean {flag:?}?"))
}

#[cfg(test)]
mod tests;
