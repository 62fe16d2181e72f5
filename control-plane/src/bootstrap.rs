//! How a control plane is started: flags, `OUTRIGGER_*` variables and a bootstrap file, in this order of precedence.

pub(crate) mod duration;
mod layers;
mod listen;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};
use tracing_subscriber::EnvFilter;

pub use layers::{FileError, Origin};
pub use listen::{Listen, ListenError, TlsFiles, Token};

/// Where metrics are served when `--metrics` isn't given.
pub const METRICS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_314);

/// Where sidecars ask for certificates when `--enrol` isn't given.
pub const ENROL_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_301);

/// How often a folder store is read and published to when `--interval` isn't given.
pub const FOLDER_INTERVAL: Duration = Duration::from_secs(1);

/// The same for an object store, where each request costs money.
pub const OBJECT_STORE_INTERVAL: Duration = Duration::from_secs(10);

/// Shortest accepted `--interval`.
pub const INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Longest accepted `--interval`.
pub const INTERVAL_MAX: Duration = Duration::from_secs(3_600);

/// Longest accepted `--collect-every`.
pub const COLLECT_EVERY_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

const AFTER_HELP: &str = "\
Each flag can also be set as OUTRIGGER_<FLAG> in the environment, or as a key of the file named by --config (TOML, keys as
the flags without dashes in front). A flag wins over the environment, the environment over the file.

Examples:
  outrigger-control-plane --store ./mesh
  outrigger-control-plane --store s3://bucket/mesh --signing-key /etc/outrigger/mesh.key --state-dir /var/lib/outrigger
  outrigger-control-plane --store ./mesh --listen 0.0.0.0:15300 --tls-cert cp.crt --tls-key cp.key --token-file token

Exit codes: 0 stopped by a signal, 1 failed, 2 wrong usage, 3 the store refused to be used.";

/// The control plane of an Outrigger mesh: takes pushed config, checks it, and publishes it as signed snapshots in a store.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "outrigger-control-plane",
    version,
    after_help = AFTER_HELP,
    args_override_self = true,
    max_term_width = 110
)]
pub struct Bootstrap {
    /// The store: a folder, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix
    #[arg(long, value_name = "URL", env = "OUTRIGGER_STORE")]
    pub store: String,

    /// Where the API listens; elsewhere than on loopback only with TLS and a token
    #[arg(long, value_name = "ADDR", env = "OUTRIGGER_LISTEN", default_value = "127.0.0.1:15300")]
    pub listen: SocketAddr,

    /// How often the store is read and published to [default: 1s on a folder, 10s on an object store]
    #[arg(long, value_name = "TIME", env = "OUTRIGGER_INTERVAL", value_parser = duration::parse_interval)]
    pub interval: Option<Duration>,

    /// How often old releases and unneeded objects are removed from the store, as by `outrigger gc`; 0s for never
    #[arg(long, value_name = "TIME", env = "OUTRIGGER_COLLECT_EVERY", default_value = "24h", value_parser = duration::parse_collect_every)]
    pub collect_every: Duration,

    /// Where this control plane remembers the newest it has seen of the store [default: below $STATE_DIRECTORY,
    /// $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR", env = "OUTRIGGER_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// The mesh's signing key, the same for all replicas [default on a folder store: STORE.key beside it]
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_SIGNING_KEY")]
    pub signing_key: Option<PathBuf>,

    /// A further public key (ed25519:...) whose revisions are accepted; may be repeated
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_TRUST_KEY", value_delimiter = ',')]
    pub trust_key: Vec<String>,

    /// Certificate chain (PEM) with which the API is served over TLS
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key (PEM) of --tls-cert
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// File with the bearer token that every API request must carry
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// The folder of the mesh's authority, as `outrigger certs init` made it: makes certificates for sidecars (its root.key is not needed)
    #[arg(long, value_name = "FOLDER", env = "OUTRIGGER_CA")]
    pub ca: Option<PathBuf>,

    /// Where sidecars ask for certificates, over TLS, with a join token or the certificate that they have; needs --ca [default:
    /// 127.0.0.1:15301]
    #[arg(long, value_name = "ADDR", env = "OUTRIGGER_ENROL", requires = "ca")]
    pub enrol: Option<SocketAddr>,

    /// For how long a sidecar's certificate is valid: 10s to 744h
    #[arg(long, value_name = "TIME", env = "OUTRIGGER_CERTIFICATE_LIFETIME", default_value = "72h", value_parser = duration::parse_certificate_lifetime)]
    pub certificate_lifetime: Duration,

    /// Where /metrics, /ready and /live are served [default: 127.0.0.1:15314, or a free port if that is taken]
    #[arg(long, value_name = "ADDR", env = "OUTRIGGER_METRICS")]
    pub metrics: Option<SocketAddr>,

    /// Publish even to a store that ignores create-if-absent: then this must be the only writer, which nothing enforces
    #[arg(long, env = "OUTRIGGER_SINGLE_WRITER")]
    pub single_writer: bool,

    /// Which events are logged: error, warn, info, debug, trace, or as in RUST_LOG
    #[arg(long, value_name = "FILTER", env = "OUTRIGGER_LOG", default_value = "info", value_parser = log_filter)]
    pub log: String,

    /// Bootstrap file (TOML)
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Why the process can't be started as asked.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Wrong flags, or a request for help: `clap` knows how to print it.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The bootstrap file.
    #[error(transparent)]
    File(#[from] FileError),
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
    /// Two listeners can't have one address.
    #[error("{0} and {1} are both {2}: give each its own (port 0 picks a free one)")]
    OneAddress(&'static str, &'static str, SocketAddr),
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn suggestion(flag: Option<&str>) -> String {
    flag.map_or_else(String::new, |flag| format!(", did you mean {flag:?}?"))
}

impl Bootstrap {
    /// Reads `arguments` (the program's name first), the variables that `environment` knows, and the bootstrap file that one of
    /// them names.
    ///
    /// # Errors
    /// [`BootstrapError`].
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, BootstrapError> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let matches = layers::matches(&Self::command(), arguments, &environment)?;
        let bootstrap = Self::from_arg_matches(&matches)?;
        let mut seen = vec![("--listen", bootstrap.listen)];
        for (flag, address) in [("--metrics", bootstrap.metrics), ("--enrol", bootstrap.enrol())] {
            let Some(address) = address.filter(|address| address.port() != 0) else { continue };
            if let Some((other, _)) = seen.iter().find(|(_, other)| *other == address) {
                return Err(BootstrapError::OneAddress(other, flag, address));
            }
            seen.push((flag, address));
        }
        Ok(bootstrap)
    }

    /// Where sidecars ask for certificates, if they can.
    pub fn enrol(&self) -> Option<SocketAddr> {
        self.ca.as_ref().map(|_| self.enrol.unwrap_or(ENROL_DEFAULT))
    }

    /// The interval to use on a store of that kind.
    pub fn interval_for(&self, is_folder: bool) -> Duration {
        self.interval.unwrap_or(if is_folder { FOLDER_INTERVAL } else { OBJECT_STORE_INTERVAL })
    }

    /// How the API may be served.
    pub fn api_listen(&self) -> Result<Listen, ListenError> {
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                Some(TlsFiles { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        };
        Listen::new(self.listen, tls, self.token_file.as_deref())
    }
}

#[cfg(test)]
mod tests;
