//! `get`, `history`: what a control plane has.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use outrigger_snapshot::record::Serial;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{self, Exit, Failed, Format, span};
use super::{Server, difference};
use crate::api::wire::{History as HistoryBody, Resources as ResourcesBody, RevisionSummary};
use crate::config::{Kind, REVISION_ANNOTATION};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outrigger get\n  outrigger get Service/cart -o yaml\n  outrigger get HTTPRoute -n shop -o json"
)]
pub(super) struct Resources {
    /// Which: all of a kind, or one by name
    #[arg(value_name = "KIND[/NAME]")]
    which: Option<String>,
    /// Only of this namespace
    #[arg(long, short, value_name = "NAME", env = "OUTRIGGER_NAMESPACE")]
    namespace: Option<String>,
    /// Of an older revision
    #[arg(long, value_name = "N", env = "OUTRIGGER_REVISION")]
    revision: Option<u64>,
    /// How to print them
    #[arg(long, short, value_enum, default_value = "table", env = "OUTRIGGER_OUTPUT")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  outrigger history --limit 5")]
pub(super) struct History {
    /// How many, newest first
    #[arg(long, value_name = "N", default_value_t = 20, env = "OUTRIGGER_LIMIT")]
    limit: usize,
    /// How to print it
    #[arg(long, short, value_enum, default_value = "table", env = "OUTRIGGER_OUTPUT")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

impl Resources {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let mut query = Vec::new();
        if let Some(which) = &self.which {
            let (kind, name) =
                which.split_once('/').map_or((which.as_str(), None), |(kind, name)| (kind, Some(name)));
            let kind = Kind::named(kind).ok_or_else(|| {
                let known = Kind::ALL.map(Kind::name).join(", ");
                Failed::usage(format!("{kind:?} is not a kind: expected one of {known}"))
            })?;
            query.push(("kind", kind.name().to_owned()));
            query.extend(name.map(|name| ("name", name.to_owned())));
        }
        query.extend(self.namespace.iter().map(|namespace| ("namespace", namespace.clone())));
        query.extend(self.revision.map(|revision| ("revision", revision.to_string())));
        let mut found: ResourcesBody = Client::new(&self.server)?.fetch("/v1/resources", &query).await?;
        let asked_for_one = self.which.as_ref().is_some_and(|which| which.contains('/'));
        if let (true, true, Some(which)) = (asked_for_one, found.resources.is_empty(), &self.which) {
            return Err(Failed::refused(format!("there is no {which} in revision {}", found.revision)));
        }
        // Who asks for an older revision wants it back, whatever has changed since.
        if self.revision.is_none() && found.epoch != 0 {
            let serial = Serial { epoch: found.epoch, n: found.revision };
            found.resources.iter_mut().for_each(|resource| note_revision(resource, serial));
        }
        match self.output {
            Format::Json => output::json(&found)?,
            Format::Yaml => {
                for resource in &found.resources {
                    output::line("---");
                    output::line(difference::yaml(resource)?.trim_end());
                }
            }
            Format::Table => output::table(&["KIND", "NAMESPACE", "NAME"], found.resources.iter().map(row)),
        }
        Ok(Exit::Done)
    }
}

impl History {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let query = [("limit", self.limit.to_string())];
        let found: HistoryBody = Client::new(&self.server)?.fetch("/v1/history", &query).await?;
        match self.output {
            Format::Json => output::json(&found)?,
            Format::Yaml => {
                let value = serde_json::to_value(&found)
                    .map_err(|error| Failed::problem("can't print this", &error))?;
                output::line(difference::yaml(&value)?.trim_end());
            }
            Format::Table => {
                let row = |revision: &RevisionSummary| {
                    vec![
                        revision.revision.to_string(),
                        ago(revision.time_unix_ms),
                        revision.author.clone(),
                        revision.resources.to_string(),
                        revision.message.clone(),
                    ]
                };
                let header = ["REVISION", "AGO", "AUTHOR", "RESOURCES", "MESSAGE"];
                output::table(&header, found.revisions.iter().map(row));
            }
        }
        Ok(Exit::Done)
    }
}

/// Notes in a resource what it was read at, so that `apply` sees if someone else changed it meanwhile.
fn note_revision(resource: &mut Value, serial: Serial) {
    let metadata = resource.get_mut("metadata").and_then(Value::as_object_mut);
    let annotations = metadata.map(|metadata| metadata.entry("annotations").or_insert_with(|| json!({})));
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.insert(REVISION_ANNOTATION.to_owned(), serial.to_string().into());
    }
}

fn row(resource: &Value) -> Vec<String> {
    let text = |pointer| resource.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    vec![text("/kind"), text("/metadata/namespace"), text("/metadata/name")]
}

/// How long ago a time was, in milliseconds since 1970.
pub(super) fn ago(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return "-".to_owned();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    span(u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(unix_ms))
}
