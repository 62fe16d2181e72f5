//! What policies say is told of requests to a port, and what that comes to.

use outrigger_snapshot::policy::{Label, Telemetry};

/// What a policy sets; `None` is left to the wider policy, or to how a proxy was started.
#[derive(Debug, Default)]
pub(crate) struct TelemetrySettings {
    pub(crate) traces: Option<u32>,
    pub(crate) slow_ms: Option<u64>,
    pub(crate) access_log: Option<bool>,
    pub(crate) access_log_share: Option<u32>,
    pub(crate) labels: Option<Vec<Label>>,
}

impl TelemetrySettings {
    /// What holds where these are set, the wider first.
    pub(crate) fn effective<'a>(layers: impl IntoIterator<Item = &'a Self>) -> Telemetry {
        layers.into_iter().fold(Telemetry::default(), |wider, settings| Telemetry {
            traces: settings.traces.or(wider.traces),
            slow_ms: settings.slow_ms.or(wider.slow_ms),
            access_log: settings.access_log.or(wider.access_log),
            access_log_share: settings.access_log_share.or(wider.access_log_share),
            labels: settings.labels.clone().unwrap_or(wider.labels),
        })
    }
}
