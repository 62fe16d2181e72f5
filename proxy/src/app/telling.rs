//! What the process tells of itself, and where: reports, admin pages, traces.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;

use super::listeners::Listeners;
use crate::admin::{self, AdminState, ServerInfo, Surface};
use crate::config::Config;
use crate::overview::Overview;
use crate::report::{Calls, Reporter, Traffic, latest};
use crate::state_dir::StateDir;
use crate::traces::export::{Export, ExportError, Teller};

/// Says what runs here to whoever the flags name, if anyone.
pub(super) fn start_reports(config: &Config, overview: &Rc<Overview>) {
    if let Some(target) = config.report.clone() {
        let status = overview.status.clone();
        let calls = Calls::new(overview.plan.clone());
        let traffic = Traffic::new(overview.registry.clone(), config.workers.get());
        let reporter = Reporter::new(target, &config.node, &config.service, config.poll, status, calls)
            .with_traffic(traffic)
            .with_failures({
                let overview = overview.clone();
                move || latest(overview.failures(), overview.clocks())
            })
            .with_certificates(overview.keepers.identity.clone(), overview.keepers.certificates.clone());
        let _ = overview.reports.set(reporter.counts()); // empty until here
        tokio::task::spawn_local(reporter.run());
    }
}

/// Tells of requests in traces, if the flags say where.
pub(super) fn start_traces(config: &Config) -> Result<Option<Export>, ExportError> {
    let teller = Teller {
        service: config.service.clone(),
        node: config.node.clone(),
        zone: config.zone.clone(),
        gateway: config.gateway.is_some(),
    };
    config.traces.as_ref().map(|traces| Export::start(traces, teller)).transpose()
}

pub(super) fn server_info(config: &Config, listeners: &Listeners, state: &StateDir) -> ServerInfo {
    ServerInfo {
        version: env!("CARGO_PKG_VERSION"),
        service: config.service.to_string(),
        node: config.node.clone(),
        zone: config.zone.clone(),
        process: std::process::id(),
        started_unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        workers: config.workers.get(),
        listeners: listeners.addresses(),
        store: config.store.clone(),
        state_dir: state.path().display().to_string(),
    }
}

pub(super) fn serve_admin(listeners: &Listeners, overview: &Rc<Overview>) -> std::io::Result<()> {
    for (listener, surface) in [(&listeners.admin, Surface::Admin), (&listeners.metrics, Surface::Metrics)] {
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        tokio::task::spawn_local(admin::serve(listener, surface, overview.clone() as Rc<dyn AdminState>));
    }
    Ok(())
}
