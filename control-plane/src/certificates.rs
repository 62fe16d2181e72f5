//! Every certificate of the mesh, as far as proxies report and the authority here knows: what ends first on top.

use std::collections::BTreeMap;

use outrigger_certs::inspect::Facts;
use outrigger_certs::pem;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::wire::AuthorityStatus;
use crate::reports::{Certificate, Identity, Proxy, Shown};

/// One certificate, or a sidecar that has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CertificateEntry)]
pub struct Entry {
    /// `leaf`, `edge` (what is shown to those outside the mesh), `server` (the control plane's own), `intermediate`, `root`, or `none`: a sidecar that waits for its first.
    #[schema(value_type = String)]
    pub role: &'static str,
    /// Whose: a SPIFFE ID and the sidecar's node, or the subject of an authority.
    pub who: String,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// Until when, in seconds since 1970.
    pub until_unix: i64,
    /// What is left of it, in seconds; negative: it is over.
    pub left_s: i64,
    /// When a new one is asked for, in seconds since 1970.
    pub renewal_unix: Option<u64>,
    /// Why no new one comes.
    pub trouble: Option<String>,
    /// Sidecars that show it, or believe it.
    pub sidecars: usize,
    /// What stops to work at its end.
    pub breaks: String,
}

/// What `meshes`, resources of that kind, have believed.
pub fn roots<'a>(meshes: impl IntoIterator<Item = &'a Value>) -> Vec<Facts> {
    let bundles = meshes.into_iter().filter_map(|mesh| mesh.pointer("/spec/trustBundle")?.as_str());
    let roots = bundles.flat_map(|bundle| pem::roots(bundle.as_bytes(), "the Mesh").unwrap_or_default());
    roots.filter_map(|root| Facts::of(&root).ok()).collect()
}

/// All of them, what ends first on top.
pub fn entries(
    proxies: &[Proxy],
    authority: Option<&AuthorityStatus>,
    roots: &[Facts],
    now: i64,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut shared = BTreeMap::<(&'static str, &str), (&Certificate, usize)>::new();
    for proxy in proxies {
        entries.extend(proxy.report.shown.iter().map(|shown| edge(proxy, shown, now)));
        let Some(identity) = &proxy.report.identity else { continue };
        entries.push(leaf(proxy, identity, now));
        for certificate in &identity.certificates {
            let role = match certificate.role.as_str() {
                "intermediate" => "intermediate",
                "root" => "root",
                _ => continue,
            };
            shared.entry((role, &certificate.serial)).or_insert((certificate, 0)).1 += 1;
        }
    }
    let named: Vec<Certificate> = roots.iter().map(root).collect();
    let made_by = authority.into_iter().flat_map(|authority| &authority.certificates);
    for certificate in named.iter().chain(made_by) {
        match certificate.role.as_str() {
            "root" => shared.entry(("root", &certificate.serial)).or_insert((certificate, 0)),
            "intermediate" => shared.entry(("intermediate", &certificate.serial)).or_insert((certificate, 0)),
            "server" => shared.entry(("server", &certificate.serial)).or_insert((certificate, 0)),
            _ => continue,
        };
    }
    let ended = |role, serial: &str| {
        let of_it = |authority: &&AuthorityStatus| {
            role != "root" && authority.certificates.iter().any(|certificate| certificate.serial == serial)
        };
        authority.filter(of_it).and_then(|authority| authority.trouble.clone())
    };
    entries.extend(shared.into_iter().map(|((role, serial), (certificate, sidecars))| Entry {
        role,
        who: certificate.subject.clone(),
        serial: serial.to_owned(),
        until_unix: certificate.until_unix,
        left_s: certificate.until_unix - now,
        renewal_unix: None,
        trouble: ended(role, serial),
        sidecars,
        breaks: match role {
            "server" => "the control plane makes it anew by itself; sidecars get no certificates without it".to_owned(),
            "root" => format!("{sidecars} sidecars refuse everybody whom it vouches for: replace it before (docs/IDENTITY.md)"),
            _ => format!("{sidecars} sidecars show it, and are refused; no certificates can be made: put a new ca.crt and ca.key into --ca"),
        },
    }));
    entries.sort_by(|one, other| (one.left_s, &one.who).cmp(&(other.left_s, &other.who)));
    entries
}

fn root(facts: &Facts) -> Certificate {
    Certificate {
        role: "root".to_owned(),
        serial: facts.serial.clone(),
        subject: facts.subject.clone(),
        until_unix: facts.not_after_unix,
    }
}

fn leaf(proxy: &Proxy, identity: &Identity, now: i64) -> Entry {
    let report = &proxy.report;
    let certificate = identity.certificates.iter().find(|certificate| certificate.role == "leaf");
    let who = identity.id.as_deref().unwrap_or(&report.service);
    let (role, breaks) = match certificate {
        Some(_) => {
            ("leaf", "others of the mesh refuse this sidecar, and it can call none of them by mutual TLS")
        }
        None => ("none", "it waits for its first certificate, and is not ready"),
    };
    let until_unix = certificate.map_or(now, |certificate| certificate.until_unix);
    let silent = if proxy.silent { ", silent" } else { "" };
    Entry {
        role,
        who: format!("{who} ({}{silent})", report.node),
        serial: certificate.map(|certificate| certificate.serial.clone()).unwrap_or_default(),
        until_unix,
        left_s: until_unix - now,
        renewal_unix: identity.renewal_unix,
        trouble: identity.trouble.clone(),
        sidecars: 1,
        breaks: breaks.to_owned(),
    }
}

fn edge(proxy: &Proxy, shown: &Shown, now: i64) -> Entry {
    let is_there = shown.until_unix > 0;
    Entry {
        role: if is_there { "edge" } else { "none" },
        who: format!("{} ({})", shown.name, proxy.report.node),
        serial: shown.serial.clone(),
        until_unix: if is_there { shown.until_unix } else { now },
        left_s: if is_there { shown.until_unix - now } else { 0 },
        renewal_unix: None,
        trouble: shown.trouble.clone(),
        sidecars: 1,
        breaks: "those outside the mesh refuse this gateway: renew it in --certificates".to_owned(),
    }
}
