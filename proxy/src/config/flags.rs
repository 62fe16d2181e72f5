//! The flags as they are typed: each alone makes sense, all together are checked in `check`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use outrigger_snapshot::keys::PublicKey;
use outrigger_snapshot::name::ServiceName;

use super::forward::{Forward, InboundPort};
use super::identity::{CaUrl, TypedToken, WorkloadSocket};
use super::place::Place;
use super::rate_limit_store::StoreUrl;
use super::target::{App, ReportUrl};
use super::transparent::UnknownDestinations;
use super::{access_log, check, duration};
use crate::access_log::Format;
use crate::logging;

/// Shortest `--poll`.
pub const POLL_MIN: Duration = Duration::from_millis(20);
/// Longest `--poll`.
pub const POLL_MAX: Duration = Duration::from_secs(3_600);
/// `--poll` where none is given and the store is a folder.
pub(super) const FOLDER_POLL: Duration = Duration::from_secs(1);
/// `--poll` where none is given and the store is in a cloud, where each request costs money.
pub const OBJECT_STORE_POLL: Duration = Duration::from_secs(10);
/// Largest `--workers`.
pub const WORKERS_MAX: usize = 256;
/// Largest `--memory-max`: 1 TiB.
const MEMORY_MIB_MAX: u64 = 1 << 20;
/// Shortest `--trace-slow`.
const SLOW_MIN: Duration = Duration::from_millis(1);
/// Longest `--trace-slow`.
const SLOW_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Shortest limit of a downstream connection.
const DOWNSTREAM_MIN: Duration = Duration::from_millis(100);
/// Longest limit of a downstream connection.
const DOWNSTREAM_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Shortest `--detect-wait`.
const DETECT_MIN: Duration = Duration::from_millis(10);
/// Longest `--detect-wait`.
const DETECT_MAX: Duration = Duration::from_secs(60);
/// Longest `--drain-grace` and `--drain-deadline`.
const DRAIN_MAX: Duration = Duration::from_secs(24 * 3_600);

const AFTER_HELP: &str = "\
Each flag can also be set as OUTRIGGER_<FLAG> in the environment (--trust-key as OUTRIGGER_TRUST_KEY; several values with
commas between them), or as a key of the file of --config. A flag wins over the environment, the environment over the file.

Examples:
  outrigger-proxy --store ./mesh --service cart
  outrigger-proxy --store ./mesh --service shop/cart --inbound 0.0.0.0:15006 --app 127.0.0.1:8080
  outrigger-proxy --store ./mesh --service shop/db --inbound-port 0.0.0.0:15432=5432 --app 127.0.0.1
  outrigger-proxy --store ./mesh --gateway edge --certificates /etc/outrigger/certificates
  outrigger-proxy --store ./mesh --service cart --forward 127.0.0.1:5432=shop/db:5432
  outrigger-proxy --store s3://bucket/mesh --service cart --trust-key ed25519:... --report https://cp.internal:15300
  outrigger-proxy --store ./mesh --service cart --ca https://cp.internal:15301 --join-token-file cart.token

SIGTERM drains, SIGINT stops at once, SIGHUP reads the store now, SIGUSR1 opens the access log anew.
Exit codes: 0 drained or stopped, 1 failed while running, 2 wrong usage, 3 neither the store nor --state-dir has a
snapshot to start with, 4 an address is taken.";

/// The sidecar of an Outrigger mesh: carries the traffic of the service that it stands beside, or lets strangers in as a gateway.
#[derive(Debug, Parser)]
#[command(name = "outrigger-proxy", version, after_help = AFTER_HELP, args_override_self = true, max_term_width = 110)]
pub(super) struct Flags {
    /// The store: a folder, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub(super) store: Option<String>,

    /// The service that this sidecar stands beside: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<ServiceName>,

    /// The gateway that this proxy is, in place of --service: NAME or NAMESPACE/NAME of a Gateway
    #[arg(long, value_name = "NAME")]
    pub(super) gateway: Option<ServiceName>,

    /// The address that the ports of the gateway are opened on [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    pub(super) gateway_address: Option<IpAddr>,

    /// Addresses and networks in front of the gateway whose x-forwarded-* and outrigger-* fields are believed; may be repeated
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', value_parser = check::network)]
    pub(super) trusted_sources: Vec<String>,

    /// Folder with certificates for those outside the mesh: NAMESPACE/NAME/tls.crt, tls.key and maybe tls.ocsp
    #[arg(long, value_name = "DIR")]
    pub(super) certificates: Option<PathBuf>,

    /// Names this proxy among those beside the service [default: $POD_NAME, or the name of the machine]
    #[arg(long, value_name = "ID", value_parser = check::node)]
    pub(super) node: Option<String>,

    /// The zone that this proxy runs in
    #[arg(long, value_name = "ZONE", value_parser = check::zone)]
    pub(super) zone: Option<String>,

    /// Where the application's calls are taken: an address, where port 0 picks a free one, or unix:/PATH of a socket
    /// [default: 127.0.0.1:15001]
    #[arg(long, value_name = "ADDR")]
    pub(super) outbound: Option<Place>,

    /// Where calls to the application are taken; needs --app [default: 127.0.0.1:15006]
    #[arg(long, value_name = "ADDR")]
    pub(super) inbound: Option<SocketAddr>,

    /// A listener for calls to one port of the own service, for callers that do not say which they mean; may be repeated, needs --app
    #[arg(long, value_name = "ADDR=PORT", value_delimiter = ',')]
    pub(super) inbound_port: Vec<InboundPort>,

    /// Addresses and networks (10.1.0.0/16) of proxies that begin each connection to the application with a header of the PROXY
    /// protocol, version 1 or 2, which says for whom it is
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', value_parser = check::network)]
    pub(super) proxy_protocol_from: Vec<String>,

    /// The application: its address, and its port unless the Service's target port is meant; or unix:/PATH of its socket
    #[arg(long, value_name = "HOST")]
    pub(super) app: Option<App>,

    /// Connections come through the rules of `outrigger intercept install`: ask the kernel where each was going. --inbound is then on all
    /// addresses [default: 0.0.0.0:15006]
    #[arg(long)]
    pub(super) transparent: bool,

    /// What becomes of intercepted connections to what the mesh does not know: allow, they go where they were going, or refuse [default: allow]
    #[arg(long, value_name = "WHAT", value_enum, hide_possible_values = true)]
    pub(super) unknown_destinations: Option<UnknownDestinations>,

    /// A listener, an address or unix:/PATH, for the application's connections to a port of protocol TCP or TLS; may be repeated
    #[arg(long, value_name = "ADDR=SERVICE:PORT", value_delimiter = ',')]
    pub(super) forward: Vec<Forward>,

    /// Where the admin endpoints are served; elsewhere than on loopback only with --expose-admin
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15200")]
    pub(super) admin: SocketAddr,

    /// Serve the admin endpoints to others: whoever reaches them can read all config and stop this proxy
    #[arg(long)]
    pub(super) expose_admin: bool,

    /// Where /metrics, /ready and /live are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15020")]
    pub(super) metrics: SocketAddr,

    /// What metrics are told apart by, beyond rules and clusters: endpoint, caller; may be repeated
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_enum, hide_possible_values = true)]
    pub(super) metrics_by: Vec<MetricsBy>,

    /// What survives a restart, one folder for each proxy [default: one named after service, node and store below
    /// $STATE_DIRECTORY, $XDG_STATE_HOME/outrigger, ~/.local/state/outrigger or the temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,

    /// Threads that carry traffic
    #[arg(long, value_name = "N", default_value = "1", value_parser = workers)]
    pub(super) workers: NonZeroUsize,

    /// Memory that the process may have, in MiB: near it, lesser requests to the application are refused [default: what its
    /// control group may have]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=MEMORY_MIB_MAX))]
    pub(super) memory_max: Option<u64>,

    /// How often the store is read, give or take a fifth [default: 1s for a folder, 10s otherwise]
    #[arg(long, value_name = "TIME", value_parser = poll)]
    pub(super) poll: Option<Duration>,

    /// A public key (ed25519:...) whose releases are run; may be repeated. Without one, a folder's keys are believed when it is
    /// first read
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub(super) trust_key: Vec<PublicKey>,

    /// Certificates (PEM) that prove to others of the mesh who this sidecar is, its own first: its SPIFFE ID is
    /// spiffe://TRUST-DOMAIN/ns/NAMESPACE/svc/NAME. Looked at again and again: what is new is used at once
    #[arg(long, value_name = "FILE")]
    pub(super) identity_cert: Option<PathBuf>,

    /// The private key (PEM) of --identity-cert
    #[arg(long, value_name = "FILE")]
    pub(super) identity_key: Option<PathBuf>,

    /// The control plane that makes certificates (its --enrol): this sidecar's own identity is asked for there, and again in good time
    #[arg(long, value_name = "URL")]
    pub(super) ca: Option<CaUrl>,

    /// File with the join token that gets this sidecar its first certificate (`outrigger certs token create`)
    #[arg(long, value_name = "FILE")]
    pub(super) join_token_file: Option<PathBuf>,

    /// The join token itself. Everyone on the machine can read a command line: pass it in the environment, or in a file
    #[arg(long, value_name = "TOKEN")]
    pub(super) join_token: Option<TypedToken>,

    /// The socket of an agent of SPIFFE's Workload API, such as SPIRE's, that gives this sidecar its identity: unix:PATH
    #[arg(long, value_name = "SOCKET")]
    pub(super) workload_api: Option<WorkloadSocket>,

    /// Where to say what runs here: a folder, or the http(s) URL of a control plane
    #[arg(long, value_name = "URL")]
    pub(super) report: Option<ReportUrl>,

    /// File with the bearer token for --report
    #[arg(long, value_name = "FILE")]
    pub(super) report_token_file: Option<PathBuf>,

    /// Certificates (PEM) of the authorities that may have signed the control plane's, for --report with https [default: the
    /// system's]
    #[arg(long, value_name = "FILE")]
    pub(super) report_ca_file: Option<PathBuf>,

    /// The collector that traces go to by OTLP: http[s]://HOST:PORT, by gRPC if the port is 4317, else by HTTP [default:
    /// $OTEL_EXPORTER_OTLP_ENDPOINT; the other OTEL_* variables are heard, too]
    #[arg(long, value_name = "URL")]
    pub(super) otlp: Option<String>,

    /// What takes longer than this is told of in a trace, whether its trace was drawn or not
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = slow)]
    pub(super) trace_slow: Duration,

    /// Writes a line for each request: to stdout, or at the end of a file, which SIGUSR1 opens anew, or as otlp to a collector, as traces are
    #[arg(long, value_name = "FILE", value_parser = access_log::target)]
    pub(super) access_log: Option<PathBuf>,

    /// How a line of the access log is written: json or text [default: json]
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    pub(super) access_log_format: Option<Format>,

    /// Of requests that did not fail, so many have a line [default: 100]
    #[arg(long, value_name = "PERCENT", value_parser = access_log::percentage)]
    pub(super) access_log_sampling: Option<u32>,

    /// Where global rate limits are counted: redis[s]://[USER:PASSWORD@]HOST[:PORT][/DATABASE] of a store that speaks the Redis protocol.
    /// Everyone on the machine can read a command line: pass a password in the environment, or in the file
    #[arg(long, value_name = "URL")]
    pub(super) rate_limit_store: Option<StoreUrl>,

    /// How long a downstream connection may be without a request
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = downstream)]
    pub(super) downstream_idle: Duration,

    /// How long a request head may take from its first byte
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = downstream)]
    pub(super) downstream_head: Duration,

    /// After how long a downstream HTTP/2 connection is asked to end
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = downstream)]
    pub(super) downstream_age: Duration,

    /// How long a connection to the application may be silent before it is taken for one of a port of protocol TCP or TLS, if its
    /// listener can have such
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = detect)]
    pub(super) detect_wait: Duration,

    /// How long a drain still takes new connections
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = drain)]
    pub(super) drain_grace: Duration,

    /// How long after its beginning a drain cuts what still runs
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = drain)]
    pub(super) drain_deadline: Duration,

    /// A DNS server to ask instead of the system's; may be repeated
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = check::dns_server)]
    pub(super) dns_server: Vec<SocketAddr>,

    /// Which events are logged: error, warn, info, debug, trace, or as in RUST_LOG
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub(super) log: String,

    /// Bootstrap file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// What `--metrics-by` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MetricsBy {
    Endpoint,
    Caller,
}

fn log_filter(text: &str) -> Result<String, String> {
    logging::parse(text)?;
    Ok(text.to_owned())
}

fn poll(text: &str) -> Result<Duration, String> {
    let poll = duration::parse(text)?;
    if (POLL_MIN..=POLL_MAX).contains(&poll) { Ok(poll) } else { Err("expected 20ms to 1h".to_owned()) }
}

fn slow(text: &str) -> Result<Duration, String> {
    let slow = duration::parse(text)?;
    if (SLOW_MIN..=SLOW_MAX).contains(&slow) { Ok(slow) } else { Err("expected 1ms to 24h".to_owned()) }
}

fn downstream(text: &str) -> Result<Duration, String> {
    let limit = duration::parse(text)?;
    if (DOWNSTREAM_MIN..=DOWNSTREAM_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err("expected 100ms to 24h".to_owned())
    }
}

fn detect(text: &str) -> Result<Duration, String> {
    let wait = duration::parse(text)?;
    if (DETECT_MIN..=DETECT_MAX).contains(&wait) { Ok(wait) } else { Err("expected 10ms to 1m".to_owned()) }
}

fn drain(text: &str) -> Result<Duration, String> {
    let drain = duration::parse(text)?;
    if drain <= DRAIN_MAX { Ok(drain) } else { Err("expected at most 24h".to_owned()) }
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let workers: NonZeroUsize = text.parse().map_err(|_| format!("expected 1 to {WORKERS_MAX}"))?;
    if workers.get() <= WORKERS_MAX { Ok(workers) } else { Err(format!("expected 1 to {WORKERS_MAX}")) }
}
