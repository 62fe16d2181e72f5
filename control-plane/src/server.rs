//! The control plane as a process: sockets, signals, the loop, and an orderly end.

mod guard;
mod listener;
mod metrics;
mod probes;
mod tls;

use std::error::Error;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use axum::{Router, middleware};
use futures_util::future::OptionFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::api;
use crate::bootstrap::{Bootstrap, BootstrapError, ListenError, Token};
use crate::causes::with_causes;
use crate::dashboard;
use crate::enrol;
use crate::reconcile;
use crate::state::{ControlPlane, OpenFailure};

pub use listener::{BindError, Listener, Peer};
pub use metrics::{Metrics, Value};
pub use tls::TlsError;

const NAME: &str = "outrigger-control-plane";
/// Threads that serve the API and publish; compiling runs on others.
const WORKERS: usize = 2;

/// Why the process ended by itself.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Open(#[from] Box<OpenFailure>),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the system refused what the process needs")]
    System(#[source] std::io::Error),
}

/// Runs a control plane as `arguments` (the program's name first) ask for, until a signal stops it.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = ended(start(arguments));
    outrigger_outlet::flush();
    exit
}

fn ended(result: Result<(), Stopped>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stopped::Bootstrap(BootstrapError::Usage(error))) => {
            // A terminal that has gone away leaves nobody to tell.
            let _printed = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Err(stopped) => {
            say(&with_causes("", &stopped as &(dyn Error + 'static)));
            ExitCode::from(match stopped {
                Stopped::Bootstrap(_) | Stopped::Listen(_) | Stopped::Tls(_) => 2,
                Stopped::Open(failure) if failure.is_usage() => 2,
                Stopped::Open(_) => 3,
                Stopped::Bind(_) | Stopped::System(_) => 1,
            })
        }
    }
}

fn start(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Stopped> {
    let bootstrap = Bootstrap::read(arguments, |name| std::env::var_os(name))?;
    let filter = EnvFilter::try_new(&bootstrap.log).unwrap_or_else(|_| EnvFilter::new("info"));
    // By a thread of its own: no request and no turn waits for who reads it.
    let outlet = outrigger_outlet::start(NAME).map_err(Stopped::System)?;
    let logged = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || outlet);
    logged.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(Stopped::System)?;
    runtime.block_on(serve(bootstrap))
}

async fn serve(bootstrap: Bootstrap) -> Result<(), Stopped> {
    let listen = bootstrap.api_listen()?;
    let acceptor = listen.tls.as_ref().map(tls::acceptor).transpose()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Stopped::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Stopped::System)?;
    let api_listener = Listener::bind(listen.address, "--listen").await?;
    let metrics_listener = bind_metrics(&bootstrap).await?;
    let enrol_listener = match bootstrap.enrol() {
        Some(address) => Some(Listener::bind(address, "--enrol").await?),
        None => None,
    };
    let opened = tokio::select! {
        opened = ControlPlane::open(&bootstrap) => opened,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let control_plane = Arc::new(opened.map_err(Box::new)?);
    let api_address = api_listener.address();
    let (stop, stopping) = watch::channel(false);
    let enrolment = match (enrol_listener, control_plane.enrolment()) {
        (Some(listener), Some(enrolment)) => {
            let acceptor = enrolment.acceptor().map_err(OpenFailure::from).map_err(Box::new)?;
            let address = listener.address();
            let router = enrol::router(Arc::clone(&control_plane), Arc::clone(enrolment));
            tokio::spawn(Arc::clone(enrolment).keep(stopping.clone()));
            let task = tokio::spawn(listener.serve(
                Some(acceptor),
                router,
                Some(enrolment.places()),
                stopping.clone(),
            ));
            say(&format!("enrolment listening on {address} (--enrol)"));
            Some(task)
        }
        _ => None,
    };

    let guarded = guarded(Arc::clone(&control_plane), listen.token.as_ref());
    let api_task = tokio::spawn(api_listener.serve(acceptor, guarded, None, stopping.clone()));
    let metrics_address = metrics_listener.address();
    let metrics_router = probes::router(Arc::clone(&control_plane));
    let metrics_task = tokio::spawn(metrics_listener.serve(None, metrics_router, None, stopping.clone()));
    let collecting =
        reconcile::collect(Arc::clone(&control_plane), bootstrap.collect_every, stopping.clone());
    // Not waited for at the end: what it has not removed, the next one will.
    tokio::spawn(collecting);
    let loop_task = tokio::spawn(reconcile::run(Arc::clone(&control_plane), stopping));

    say(&format!("API listening on {api_address} (--listen)"));
    say(&format!("metrics listening on {metrics_address} (--metrics)"));
    notify(sd_notify::NotifyState::Ready);
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    say(&format!("{signal}: finishing requests in flight"));
    notify(sd_notify::NotifyState::Stopping);
    stop.send_replace(true);
    let ended = async {
        // Each ends by itself within the drain deadline; a panic in one must not keep the others from ending.
        let _ended = tokio::join!(api_task, metrics_task, loop_task, OptionFuture::from(enrolment));
    };
    tokio::select! {
        () = ended => say("stopped"),
        _ = interrupt.recv() => say("SIGINT again: stopped at once"),
    }
    Ok(())
}

/// The API for those who may use it, and the page for everybody: whoever reads it learns nothing of the mesh, for it asks the API itself, with
/// the token that the person at the browser has.
fn guarded(control_plane: Arc<ControlPlane>, token: Option<&Token>) -> Router {
    let admit = middleware::from_fn_with_state(token.cloned(), guard::admit);
    let admit_page = middleware::from_fn_with_state(token.is_some(), guard::admit_page);
    api::router(control_plane).layer(admit).merge(dashboard::router().layer(admit_page))
}

/// The metrics listener. Only an address that was asked for must be had: several control planes on one machine shouldn't fail
/// over a port that nobody chose.
async fn bind_metrics(bootstrap: &Bootstrap) -> Result<Listener, BindError> {
    if let Some(address) = bootstrap.metrics {
        return Listener::bind(address, "--metrics").await;
    }
    match Listener::bind(crate::bootstrap::METRICS_DEFAULT, "--metrics").await {
        Ok(listener) => Ok(listener),
        Err(error) => {
            say(&format!("{error}; picking a free one"));
            let mut free = crate::bootstrap::METRICS_DEFAULT;
            free.set_port(0);
            Listener::bind(free, "--metrics").await
        }
    }
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "can't notify systemd");
    }
}

/// Tells the operator, whatever the log level.
pub(crate) fn say(text: &str) {
    outrigger_outlet::say(&format!("{NAME}: {text}"));
}
