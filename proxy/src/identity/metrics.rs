//! When certificates end, and whether new ones come.

use std::collections::BTreeSet;

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
    exposition
        .counter("outrigger_certificate_failures_total", "Times that no new certificate could be had.")
        .sample(&[], keeper.failures.get());
    let (trouble, doubts) = (keeper.trouble.borrow(), keeper.doubts.borrow());
    // Each reason once: two series of the same labels are none.
    let reasons: BTreeSet<_> =
        trouble.iter().chain(&*doubts).map(|trouble| trouble.reason.as_str()).collect();
    for reason in reasons {
        exposition
            .gauge(
                "outrigger_certificate_trouble",
                "1: why no new certificate comes, the newest is not used, or the mesh does not believe the one in force.",
            )
            .sample(&[("reason", reason)], 1_u64);
    }
    let lives =
        keeper.each(|role, facts| (role, facts.serial.clone(), facts.not_before_unix, facts.not_after_unix));
    for (role, serial, from_unix, until_unix) in lives {
        exposition
            .gauge(
                "outrigger_certificate_start_timestamp_seconds",
                "From when on a certificate can be used, in seconds since 1970.",
            )
            .sample(&[("role", role), ("serial", &serial)], from_unix.max(0) as u64);
        exposition
            .gauge(
                "outrigger_certificate_expiry_timestamp_seconds",
                "When a certificate ends, in seconds since 1970.",
            )
            .sample(&[("role", role), ("serial", &serial)], until_unix.max(0) as u64);
    }
}
