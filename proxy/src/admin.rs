//! The listeners for people and machines that look after this proxy.
//!
//! `app` binds two listeners, implements [`AdminState`] over whatever it owns, and polls [`serve`] for each on the control
//! thread: with [`Surface::Admin`] for `--admin`, with [`Surface::Metrics`] for `--metrics`. Nothing here knows the data path,
//! and nothing here is on it. `docs/OPERATIONS.md` lists the endpoints.

mod answer;
mod certs;
mod clusters;
mod failures;
mod lines;
mod listeners;
mod serve;
mod stats;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Serialize;

pub use certs::{CertView, CertsView, ShownCerts};
pub use clusters::{ClusterView, DnsView, EndpointView};
pub use serve::{CONNECTIONS_MAX, serve};

use crate::clock;
use crate::crew::ListenerView;
use crate::failure::Failure;
use crate::failure::view::Clocks;
use crate::source::{self, View};
use crate::tap::{self, Crowded, Watch};
use crate::telemetry::exposition::{Exposition, Format};
use crate::telemetry::process;
use answer::Answer;
use lines::Taken;

/// Which endpoints a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// All of them.
    Admin,
    /// Those that change nothing and give nothing away: metrics, readiness, liveness.
    Metrics,
}

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not every listener listens yet.
    Starting,
    /// Carrying traffic, if there is a plan.
    Serving,
    /// Going, but not gone.
    Draining,
}

/// Facts about the process that don't change.
#[derive(Debug, Clone, Serialize)]
pub struct ServerInfo {
    /// The version of `outrigger-proxy`.
    pub version: &'static str,
    /// The service beside which it runs.
    pub service: String,
    /// Its name among those beside the service.
    pub node: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Process id.
    pub process: u32,
    /// When it started, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Threads that carry traffic.
    pub workers: usize,
    /// Bound addresses by flag.
    pub listeners: Vec<(&'static str, String)>,
    /// Where snapshots come from.
    pub store: String,
    /// What survives a restart.
    pub state_dir: String,
}

/// What a scrape gets, a part of it. Others have their turn on the thread before the next is written.
pub type Part<'a> = Box<dyn FnOnce(&mut Exposition) + 'a>;

/// What the endpoints show and do. All of it is called on the control thread and returns at once.
pub trait AdminState {
    /// Where the process is in its life.
    fn phase(&self) -> Phase;
    /// What the source knows.
    fn source(&self) -> View;
    /// What keeps a proxy with a plan from taking traffic, if anything does.
    fn trouble(&self) -> Option<String>;
    /// The process.
    fn server_info(&self) -> ServerInfo;
    /// Every cluster of the plan, by name.
    fn clusters(&self) -> Vec<ClusterView>;
    /// Where connections come in.
    fn listeners(&self) -> Vec<ListenerView>;
    /// Certificates that are shown, and by which others are believed.
    fn certs(&self) -> CertsView;
    /// Requests that have failed of late.
    fn failures(&self) -> Vec<Arc<Failure>>;
    /// All metrics but the source's, in parts that are written one after the other.
    fn metrics(&self) -> Vec<Part<'_>>;
    /// What is logged.
    fn log_filter(&self) -> String;
    /// Logs something else from now on; the error says why not.
    fn set_log_filter(&self, filter: &str) -> Result<(), String>;
    /// Begins to watch requests end.
    fn watch(&self, asked: tap::Asked) -> Result<Watch, Crowded>;
    /// Begins a drain. Does nothing if one has begun.
    fn drain(&self);
    /// Stops at once.
    fn shutdown(&self);
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    accept: &'a str,
    /// Of the connection that it is asked on.
    taken: &'a Taken,
}

async fn answer(surface: Surface, asked: Asked<'_>, state: &dyn AdminState) -> Answer {
    let reads = matches!(*asked.method, Method::GET | Method::HEAD);
    match (surface, asked.path) {
        (_, "/ready" | "/readyz" | "/healthz/ready") if reads => ready(state),
        (_, "/live" | "/livez" | "/healthz") if reads => Answer::text(StatusCode::OK, "live\n"),
        (_, "/metrics" | "/stats/prometheus") if reads => metrics(asked.accept, state).await,
        (Surface::Admin, "/config_dump") if reads => config_dump(state),
        (Surface::Admin, "/clusters") if reads => clusters::answer(&state.clusters(), asked.query),
        (Surface::Admin, "/listeners") if reads => listeners::answer(&state.listeners(), asked.query),
        (Surface::Admin, "/certs") if reads => Answer::serialized(&state.certs()),
        (Surface::Admin, "/stats") if reads => {
            stats::answer(&scrape(Format::Text, state).await.finish(), asked.query)
        }
        (Surface::Admin, "/debug/failures") if reads => failures(state, asked.query),
        (Surface::Admin, "/debug/tap") if reads => watch(state, asked),
        (Surface::Admin, "/server_info") if reads => server_info(state),
        (Surface::Admin, "/") if reads => Answer::text(StatusCode::OK, INDEX),
        (Surface::Admin, "/drain") if asked.method == Method::POST => {
            state.drain();
            Answer::text(StatusCode::ACCEPTED, "draining\n")
        }
        (Surface::Admin, "/shutdown") if asked.method == Method::POST => {
            state.shutdown();
            Answer::text(StatusCode::ACCEPTED, "shutting down\n")
        }
        (Surface::Admin, "/logging") if reads => {
            Answer::text(StatusCode::OK, format!("{}\n", state.log_filter()))
        }
        (Surface::Admin, "/logging") if asked.method == Method::POST => logging(state, asked.query),
        (Surface::Admin, "/drain" | "/shutdown") => Answer::method_not_allowed("POST"),
        (_, path) if is_known(surface, path) => Answer::method_not_allowed("GET, HEAD"),
        (Surface::Admin, path) => Answer::text(StatusCode::NOT_FOUND, format!("there is no {path}\n{INDEX}")),
        (Surface::Metrics, _) => Answer::text(
            StatusCode::NOT_FOUND,
            "only /metrics, /ready and /live are here; see --admin for the others\n",
        ),
    }
}

const INDEX: &str = "\
GET  /ready         200 while this proxy has a plan, can prove its identity if it is to, and is not draining
GET  /live          200 while it answers
GET  /metrics       Prometheus metrics
GET  /config_dump   the snapshot that runs
GET  /clusters      endpoints and their load (?format=json)
GET  /listeners     addresses and connections (?format=json)
GET  /certs         certificates that are shown and believed
GET  /stats         metrics, a line each (?filter=REGEX, ?format=json|prometheus)
GET  /debug/failures  why requests have failed (?id=, ?reason=, ?route=, ?count=)
GET  /debug/tap     requests as they end (?route=, ?service=, ?status=, ?reason=, ?method=, ?path=, ?rate=)
GET  /server_info   version, node, listeners
POST /drain         finish what runs, then exit
POST /shutdown      exit now
POST /logging       log ?level= from now on, as in RUST_LOG; GET says what is logged
";

fn is_known(surface: Surface, path: &str) -> bool {
    let read_only = [
        "/ready",
        "/readyz",
        "/healthz/ready",
        "/live",
        "/livez",
        "/healthz",
        "/metrics",
        "/stats/prometheus",
    ];
    let admin = [
        "/config_dump",
        "/clusters",
        "/listeners",
        "/certs",
        "/stats",
        "/debug/failures",
        "/debug/tap",
        "/server_info",
        "/logging",
        "/",
    ];
    read_only.contains(&path) || surface == Surface::Admin && admin.contains(&path)
}

fn logging(state: &dyn AdminState, query: &str) -> Answer {
    let level = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "level");
    let wished = level.map(|(_, level)| level).unwrap_or_default();
    match state.set_log_filter(&wished) {
        Ok(()) => Answer::text(StatusCode::OK, format!("{wished}\n")),
        Err(why) => Answer::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

fn ready(state: &dyn AdminState) -> Answer {
    match (state.phase(), state.source().running) {
        (Phase::Draining, _) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready: draining\n"),
        (Phase::Starting, _) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready: starting\n"),
        (Phase::Serving, Some(_)) => match state.trouble() {
            None => Answer::text(StatusCode::OK, "ready\n"),
            Some(why) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        (Phase::Serving, None) => {
            let why = without_plan(&state.source());
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: no snapshot runs: {why}\n"))
        }
    }
}

fn without_plan(view: &View) -> String {
    if let Some(refusal) = &view.last_refusal {
        format!("the last one was refused: {refusal}")
    } else if view.scope_missing {
        "the newest release has nothing for this proxy's service (--service)".to_owned()
    } else if let Some(trouble) = &view.trouble {
        trouble.clone()
    } else if view.polls > 0 {
        "the store holds no release yet (`outrigger publish` or a control plane makes one)".to_owned()
    } else {
        "the store was not read yet".to_owned()
    }
}

async fn metrics(accept: &str, state: &dyn AdminState) -> Answer {
    let format = Format::asked(accept);
    Answer::of(StatusCode::OK, format.content_type(), scrape(format, state).await.page())
}

async fn scrape(format: Format, state: &dyn AdminState) -> Exposition {
    let mut exposition = Exposition::of(format);
    let info = state.server_info();
    exposition
        .gauge("outrigger_build_info", "The program, in labels; always 1.")
        .sample(&[("version", info.version)], 1_u64);
    process::write_process(info.started_unix_ms, &mut exposition);
    let view = state.source();
    exposition
        .gauge("outrigger_ready", "Whether /ready answers 200.")
        .sample(&[], state.phase() == Phase::Serving && view.running.is_some() && state.trouble().is_none());
    source::metrics::write(&view, state.now_ms(), &mut exposition);
    for part in state.metrics() {
        tokio::task::yield_now().await;
        part(&mut exposition);
    }
    exposition
}

fn watch(state: &dyn AdminState, asked: Asked<'_>) -> Answer {
    let wanted = match tap::Asked::read(asked.query) {
        Ok(wanted) => wanted,
        Err(why) => return Answer::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let clocks = Clocks { now_ns: clock::now_ns(), now_unix_ms: state.now_ms() };
    match state.watch(wanted) {
        Ok(watch) => Answer::lines(lines::Lines::new(watch, clocks, asked.taken.clone())),
        Err(crowded) => Answer::text(StatusCode::TOO_MANY_REQUESTS, format!("{crowded}\n")),
    }
}

fn failures(state: &dyn AdminState, query: &str) -> Answer {
    let clocks = Clocks { now_ns: clock::now_ns(), now_unix_ms: state.now_ms() };
    failures::answer(&state.failures(), clocks, query)
}

#[derive(Serialize)]
struct Dumped<'a> {
    release: &'a crate::state_dir::Taken,
    policy_digest: String,
    facts_digest: String,
    since_unix_ms: u64,
    from_state: bool,
}

/// The objects as they were published, byte for byte: they are JSON already.
fn config_dump(state: &dyn AdminState) -> Answer {
    let Some(running) = state.source().running else {
        return Answer::text(StatusCode::NOT_FOUND, "no snapshot runs\n");
    };
    let head = Dumped {
        release: &running.taken,
        policy_digest: running.policy.digest.to_string(),
        facts_digest: running.facts.digest.to_string(),
        since_unix_ms: running.since_ms,
        from_state: running.from_state,
    };
    let head = match serde_json::to_string(&head) {
        Ok(head) => head,
        Err(error) => return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    Answer::json(StatusCode::OK)
        .and(format!("{{\"running\":{head},\"policy\":"))
        .and_shared(running.policy.bytes)
        .and(",\"facts\":")
        .and_shared(running.facts.bytes)
        .and("}\n")
}

#[derive(Serialize)]
struct Informed {
    #[serde(flatten)]
    info: ServerInfo,
    phase: Phase,
    uptime_ms: u64,
}

fn server_info(state: &dyn AdminState) -> Answer {
    let info = state.server_info();
    let uptime_ms = state.now_ms().saturating_sub(info.started_unix_ms);
    Answer::serialized(&Informed { info, phase: state.phase(), uptime_ms })
}
