//! What is told of requests to a port, and by whose word.

use outrigger_snapshot::policy::Telemetry;

use super::origin::Parts;
use super::settings::Settings;
use crate::config::text::{duration_text, percent_text};

/// A line, where a policy says anything.
pub(super) fn line(settings: &Settings<'_>) -> Option<(&'static str, String)> {
    let Settings { origins, place, backend, .. } = settings;
    let Telemetry { traces, slow_ms, access_log, access_log_share, labels } = backend.telemetry.as_ref()?;
    let mut parts = Parts::default();
    let mut add = |field: &str, text: Option<String>| {
        if let Some(text) = text {
            parts.add(text, origins.telemetry_field(*place, field, false));
        }
    };
    add("traces.sampling", traces.map(|share| format!("traces of {}", percent_text(share))));
    add("traces.slow", slow_ms.map(|ms| format!("slow from {}", duration_text(ms))));
    let on = access_log.map(|on| if on { "access log where there is one" } else { "no access log" });
    add("accessLog", on.map(str::to_owned));
    let share = access_log_share.map(|share| format!("of {} and all that fail", percent_text(share)));
    add("accessLog.sampling", share);
    let names: Vec<_> = labels.iter().map(|label| label.name.as_str()).collect();
    add("labels", (!names.is_empty()).then(|| format!("labels {}", names.join(", "))));
    Some(("telemetry", parts.text()))
}
