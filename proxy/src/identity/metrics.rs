//! When certificates end, and whether new ones come.

use super::Keeper;
use crate::telemetry::exposition::Exposition;

/// Writes what is known of certificates.
pub fn write(keeper: &Keeper, exposition: &mut Exposition) {
    if !keeper.shared.wanted() {
        return;
    }
    exposition
        .counter("outrigger_certificate_renewals_total", "Times that a certificate was put into force.")
        .sample(&[], keeper.renewals.get());
    exposition
        .counter(
            "outrigger_certificate_refusals_total",
            "Times that a new certificate was not put into force.",
        )
        .sample(&[], keeper.refusals.get());
    let svid = keeper.svid.borrow();
    let bundle = keeper.bundle.borrow();
    let own = svid.iter().flat_map(|svid| svid.facts());
    let chain = own.enumerate().map(|(nth, facts)| (if nth == 0 { "leaf" } else { "intermediate" }, facts));
    let roots = bundle.iter().flat_map(|bundle| bundle.facts()).map(|facts| ("root", facts));
    for (role, facts) in chain.chain(roots) {
        exposition
            .gauge(
                "outrigger_certificate_expiry_timestamp_seconds",
                "When a certificate ends, in seconds since 1970.",
            )
            .sample(&[("role", role), ("serial", &facts.serial)], facts.not_after_unix.max(0) as u64);
    }
}
