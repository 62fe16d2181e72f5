//! What the process tells of itself, and where: reports, admin pages, traces.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;

use super::AppError;
use super::listeners::Listeners;
use crate::access_log::writer::Writer;
use crate::admin::{self, AdminState, ServerInfo, Surface};
use crate::config::Config;
use crate::otlp::Teller;
use crate::overview::{self, Overview};
use crate::report::{Calls, Reporter, Traffic, latest};
use crate::state_dir::StateDir;
use crate::traces::export::Export;

/// Says what runs here to whoever the flags name, if anyone.
pub(super) fn start_reports(config: &Config, listeners: &Listeners, overview: &Rc<Overview>) {
    if let Some(target) = config.report.clone() {
        let status = overview.status.clone();
        let calls = Calls::new(overview.plan.clone());
        let traffic = Traffic::new(overview.registry.clone(), config.workers.get());
        let reporter = Reporter::new(target, &config.node, &config.service, config.poll, status, calls)
            .with_admin(listeners.admin.local_addr().ok())
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

/// Those who tell of each request.
#[derive(Debug)]
pub(super) struct Tellers {
    pub(super) traces: Option<Export>,
    pub(super) access_log: Option<Writer>,
}

impl Tellers {
    /// Starts those that the flags ask for.
    pub(super) fn start(config: &Config) -> Result<Self, AppError> {
        let teller = Teller {
            service: config.service.clone(),
            node: config.node.clone(),
            zone: config.zone.clone(),
            gateway: config.gateway.is_some(),
        };
        let traces = config.traces.as_ref();
        let traces = traces.map(|traces| Export::start(traces, teller.clone())).transpose()?;
        let log = config.access_log.clone();
        let log = log.map(|log| Writer::start(log.target, log.choice, teller)).transpose()?;
        Ok(Self { traces, access_log: log })
    }

    /// What became of what they tell.
    pub(super) fn overview(&self) -> overview::Tellers {
        overview::Tellers {
            traces: self.traces.as_ref().map(|traces| traces.shared().handing),
            access_log: self.access_log.as_ref().map(|log| (log.counts(), log.reopener())),
        }
    }

    /// The workers are gone: says the last. Whether each thread ended well.
    pub(super) fn end(self) -> bool {
        self.access_log.into_iter().for_each(Writer::end);
        self.traces.is_none_or(Export::end)
    }
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
