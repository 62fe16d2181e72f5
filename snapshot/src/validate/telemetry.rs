//! What is told of requests.

use std::collections::HashSet;

use super::{Invalid, at_most, check_timeout, invalid};
use crate::policy::{LABELS_MAX, SHARE_WHOLE, Telemetry};

pub(super) fn check(place: &str, telemetry: &Telemetry) -> Result<(), Invalid> {
    let shares = [telemetry.traces, telemetry.access_log_share];
    if shares.into_iter().flatten().any(|share| share > SHARE_WHOLE) {
        return Err(invalid(
            place,
            format!("tells of more than all requests: a share is at most {SHARE_WHOLE}"),
        ));
    }
    at_most(place, "labels", telemetry.labels.len(), LABELS_MAX)?;
    let mut names = HashSet::new();
    for label in &telemetry.labels {
        label.check().map_err(|error| invalid(place, format!("the label {:?}: {error}", label.name)))?;
        if !names.insert(label.name.as_str()) {
            return Err(invalid(place, format!("the label {:?} stands twice", label.name)));
        }
    }
    telemetry.slow_ms.map_or(Ok(()), |slow_ms| check_timeout(place, slow_ms))
}
