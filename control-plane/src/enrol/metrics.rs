//! What the authority counts, and when its certificates end.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use outrigger_certs::inspect::Facts;

use super::{Enrolment, Refusal};

/// How a sidecar proved itself.
pub(super) const PROOFS: [&str; 2] = ["token", "certificate"];

#[derive(Debug, Default)]
pub(super) struct Counts {
    issued: [AtomicU64; PROOFS.len()],
    refused: [AtomicU64; Refusal::CODES.len()],
}

impl Counts {
    pub(super) fn issue(&self, proof: &str) {
        count(&PROOFS, &self.issued, proof);
    }

    pub(super) fn refuse(&self, code: &str) {
        count(&Refusal::CODES, &self.refused, code);
    }
}

fn count(words: &[&str], counts: &[AtomicU64], word: &str) {
    if let Some(at) = words.iter().position(|known| *known == word) {
        counts[at].fetch_add(1, Relaxed);
    }
}

impl Enrolment {
    /// All of it, as Prometheus scrapes it.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, series: Vec<(String, u64)>| {
            let name = format!("outrigger_control_plane_{name}");
            let mut lines = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, value) in series {
                let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
                writeln!(lines, "{name}{labels} {value}").expect("a String can always be written to");
            }
            text.push_str(&lines);
        };
        let series = |label: &str, words: &[&str], counts: &[AtomicU64]| {
            words
                .iter()
                .zip(counts)
                .map(|(word, count)| (format!("{label}=\"{word}\""), count.load(Relaxed)))
                .collect()
        };
        family(
            "certificates_issued_total",
            "counter",
            "Certificates made for sidecars, by how they proved themselves.",
            series("proof", &PROOFS, &self.metrics.issued),
        );
        family(
            "certificate_refusals_total",
            "counter",
            "Requests for certificates that were refused.",
            series("reason", &Refusal::CODES, &self.metrics.refused),
        );
        family(
            "enrolment_connections_refused_total",
            "counter",
            "Connections of sidecars that were closed because there were too many from the same address.",
            vec![(String::new(), self.places.refused())],
        );
        let current = self.current();
        family(
            "authority_ready",
            "gauge",
            "1 if the authority can make certificates, 0 if its time is over or has not come.",
            vec![(String::new(), u64::from(current.untimely.is_none()))],
        );
        let roots = current.folder.roots().iter().filter_map(|root| Facts::of(root).ok());
        let chain = current.folder.authority().chain_facts().map(|facts| ("intermediate", facts.clone()));
        let all = std::iter::once(("server", current.own_facts.clone())).chain(chain);
        let expiry = all.chain(roots.map(|root| ("root", root)));
        family(
            "certificate_expiry_timestamp_seconds",
            "gauge",
            "When a certificate of the authority ends, in seconds since 1970.",
            expiry
                .map(|(role, facts)| {
                    let until = u64::try_from(facts.not_after_unix).unwrap_or(0);
                    (format!("role=\"{role}\",serial=\"{}\"", facts.serial), until)
                })
                .collect(),
        );
        text
    }
}
