//! `certs status`: every certificate of the mesh, what ends first on top.

use std::path::PathBuf;

use clap::Args;
use rustls_pki_types::UnixTime;

use super::super::client::Client;
use super::super::output::{self, Exit, Failed, Format, span};
use super::super::{Server, difference, status};
use super::date;
use crate::api::wire::{Resources, Status as StatusBody};
use crate::certificates::{Entry, entries, roots};

#[derive(Debug, Args)]
pub(in crate::cli) struct Status {
    /// Also look at the reports in this folder (outrigger-proxy --report FOLDER)
    #[arg(long, value_name = "FOLDER", env = "OUTRIGGER_REPORTS")]
    reports: Option<PathBuf>,
    /// How to print it
    #[arg(long, short, value_enum, default_value = "table", env = "OUTRIGGER_OUTPUT")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

impl Status {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let client = Client::new(&self.server)?;
        let mut found: StatusBody = client.fetch("/v1/status", &[]).await?;
        let meshes: Resources = client.fetch("/v1/resources", &[("kind", "Mesh".to_owned())]).await?;
        if let Some(folder) = &self.reports {
            status::count_in(&mut found, status::read_folder(folder)?);
        }
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let entries = entries(&found.proxies, found.authority.as_ref(), &roots(&meshes.resources), now);
        match self.output {
            Format::Json => output::json(&entries)?,
            Format::Yaml => {
                let value = serde_json::to_value(&entries)
                    .map_err(|error| Failed::problem("can't print this", &error))?;
                output::line(difference::yaml(&value)?.trim_end());
            }
            Format::Table => {
                let header = ["LEFT", "UNTIL", "ROLE", "WHO", "SERIAL", "RENEWAL", "AT ITS END"];
                output::table(&header, entries.iter().map(|entry| row(entry, now)));
                let (telling, all) = (
                    found.proxies.iter().filter(|proxy| proxy.report.identity.is_some()).count(),
                    found.proxies.len(),
                );
                output::remark(&format!("{telling} of {all} sidecars that report here have an identity"));
                if let Some(trouble) = found.authority.and_then(|authority| authority.trouble) {
                    output::remark(&format!("NO CERTIFICATES CAN BE MADE: {trouble}"));
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn row(entry: &Entry, now: i64) -> Vec<String> {
    let left = match u64::try_from(entry.left_s) {
        Ok(left @ 1..) => span(left * 1_000),
        _ if entry.role == "none" => "-".to_owned(),
        _ => "OVER".to_owned(),
    };
    let renewal = match (&entry.trouble, entry.renewal_unix) {
        (Some(trouble), _) => format!("FAILS: {trouble}"),
        (None, Some(unix)) => {
            let wait = i64::try_from(unix).unwrap_or(i64::MAX).saturating_sub(now);
            u64::try_from(wait).map_or_else(|_| "due".to_owned(), |wait| format!("in {}", span(wait * 1_000)))
        }
        (None, None) if entry.role == "server" => "by itself".to_owned(),
        (None, None) => "by hand".to_owned(),
    };
    let until = if entry.role == "none" { "-".to_owned() } else { date(entry.until_unix) };
    vec![
        left,
        until,
        entry.role.to_owned(),
        entry.who.clone(),
        entry.serial.clone(),
        renewal,
        entry.breaks.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::AuthorityStatus;
    use crate::reports::{Certificate, Identity, Proxy, Report, Shown};

    const NOW: i64 = 1_800_000_000;

    fn proxy(node: &str, leaf_left: Option<i64>, trouble: Option<&str>) -> Proxy {
        let certificate = |role: &str, serial: &str, left: i64| Certificate {
            role: role.to_owned(),
            serial: serial.to_owned(),
            subject: format!("CN={serial}"),
            until_unix: NOW + left,
        };
        let mut certificates =
            vec![certificate("intermediate", "bb", 9_000), certificate("root", "cc", 99_000)];
        certificates.extend(leaf_left.map(|left| certificate("leaf", node, left)));
        let report = Report {
            node: node.to_owned(),
            service: "shop/cart".to_owned(),
            version: "1".to_owned(),
            admin: None,
            running: None,
            since_unix_ms: 0,
            refusals: 0,
            last_refusal: None,
            quarantined: Vec::new(),
            calls: Default::default(),
            traffic: None,
            failures: Vec::new(),
            identity: Some(Identity {
                id: leaf_left.map(|_| "spiffe://mesh.test/ns/shop/svc/cart".to_owned()),
                certificates,
                renewal_unix: None,
                trouble: trouble.map(str::to_owned),
            }),
            shown: Vec::new(),
        };
        Proxy { report, age_ms: 0, current: true, silent: false }
    }

    #[test]
    fn what_ends_first_is_on_top_and_what_is_shared_is_told_once() {
        let proxies = [
            proxy("late", Some(10_000), None),
            proxy("waiting", None, Some("no token")),
            proxy("over", Some(-5), None),
        ];
        let entries = entries(&proxies, None, &[], NOW);
        let told: Vec<_> =
            entries.iter().map(|entry| (entry.role, entry.serial.as_str(), entry.sidecars)).collect();
        let expected = [
            ("leaf", "over", 1),
            ("none", "", 1),
            ("intermediate", "bb", 3),
            ("leaf", "late", 1),
            ("root", "cc", 3),
        ];
        assert_eq!(told, expected);
        assert_eq!(row(&entries[0], NOW)[0], "OVER");
        assert!(row(&entries[1], NOW)[5].contains("FAILS: no token"));
        assert!(entries.iter().all(|entry| !entry.breaks.is_empty()));
    }

    #[test]
    fn what_gateways_show_is_listed_and_what_they_lack() {
        let mut gateway = proxy("edge-1", Some(10_000), None);
        let shown = |name: &str, until_unix, trouble: Option<&str>| Shown {
            name: name.to_owned(),
            serial: String::new(),
            until_unix,
            trouble: trouble.map(str::to_owned),
        };
        gateway.report.shown = vec![
            shown("default/shop", NOW + 60, Some("key_mismatch")),
            shown("default/late", 0, Some("unreadable")),
        ];
        let entries = entries(&[gateway], None, &[], NOW);
        let rows: Vec<_> = entries.iter().map(|entry| row(entry, NOW)).collect();
        assert_eq!([&*rows[0][0], &rows[0][2], &rows[0][3]], ["-", "none", "default/late (edge-1)"]);
        assert_eq!(rows[0][5], "FAILS: unreadable");
        assert_eq!([&*rows[1][2], &rows[1][3]], ["edge", "default/shop (edge-1)"]);
        assert_eq!(rows[1][5], "FAILS: key_mismatch");
    }

    #[test]
    fn an_authority_that_has_ended_is_told_though_no_sidecar_shows_it() {
        let certificate = |role: &str, serial: &str, left: i64| Certificate {
            role: role.to_owned(),
            serial: serial.to_owned(),
            subject: format!("CN={serial}"),
            until_unix: NOW + left,
        };
        let authority = AuthorityStatus {
            certificates: vec![
                certificate("server", "aa", -60),
                certificate("intermediate", "bb", -60),
                certificate("root", "cc", 99_000),
            ],
            trouble: Some("it has expired".to_owned()),
        };
        let entries = entries(&[proxy("late", Some(10_000), None)], Some(&authority), &[], NOW);
        let rows: Vec<_> = entries.iter().map(|entry| row(entry, NOW)).collect();
        let told: Vec<_> = rows.iter().map(|row| [row[0].as_str(), &row[2], &row[4]]).collect();
        // The sidecar shows one of the same number, which is the same; what it says of it counts.
        assert_eq!(
            told.iter().map(|[_, role, _]| *role).collect::<Vec<_>>(),
            ["server", "intermediate", "leaf", "root"]
        );
        assert_eq!((told[0][0], rows[0][5].as_str()), ("OVER", "FAILS: it has expired"));
        assert_eq!(rows[1][5], "FAILS: it has expired");
        assert_eq!(rows[3][5], "by hand");
    }
}
