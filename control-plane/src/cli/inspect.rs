//! `snapshot inspect`: what is in a store, or in one of its files.

use std::io::Read;
use std::path::Path;

use clap::{Args, Subcommand};
use outrigger_snapshot::canonical;
use outrigger_snapshot::name::{DEFAULT_NAMESPACE, ServiceName};
use serde_json::{Value, json};

use super::output::{self, Exit, Failed};
use super::published;

/// Largest file that is read, in bytes, and the largest content of a compressed one.
const BYTES_MAX: usize = 64 << 20;

/// How a zstd frame begins (RFC 8878 §3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[derive(Debug, Subcommand)]
pub(super) enum Snapshot {
    /// Print what a store holds, or what is in one of its files, as JSON
    #[command(
        after_help = "A file is printed whether or not its signature is right: to look at it, not to believe it.\n\nExamples:\n  \
                            outrigger snapshot inspect ./mesh\n  \
                            outrigger snapshot inspect ./mesh --service cart\n  \
                            outrigger snapshot inspect ./mesh/objects/3f2a..."
    )]
    Inspect(Inspect),
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// A store, or a file of one
    #[arg(value_name = "URL|FILE", env = "OUTRIGGER_STORE")]
    place: String,
    /// Also print what the sidecar beside this service gets
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_SERVICE")]
    service: Option<ServiceName>,
    /// A public key that is believed [default: those that the store offers]
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_TRUST_KEY", value_delimiter = ',')]
    trust_key: Vec<String>,
}

impl Snapshot {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let Self::Inspect(inspect) = self;
        let path = Path::new(&inspect.place);
        if path.is_file() { file(path) } else { inspect.store().await }
    }
}

impl Inspect {
    async fn store(self) -> Result<Exit, Failed> {
        let scope = match &self.service {
            Some(service) => service.clone(),
            // Any scope does for what is the same for all.
            None => ServiceName::new(DEFAULT_NAMESPACE, DEFAULT_NAMESPACE)
                .map_err(|error| Failed::problem("", &error))?,
        };
        let found = published::read(&self.place, &self.trust_key, scope).await?;
        let release = &found.release;
        let mut shown = json!({
            "mesh": release.mesh.to_string(),
            "epoch": release.serial.epoch,
            "release": release.serial.n,
            "revision": release.revision,
            "compiler": release.compiler,
            "rejected": release.rejected,
            "time_ms": release.time_ms,
            "lane": release.lane,
            "heartbeat_ms": found.heartbeat.map(|heartbeat| heartbeat.time_ms),
        });
        if let (Some(service), Some(fields)) = (&self.service, shown.as_object_mut()) {
            let content = found.content.as_ref().ok_or_else(|| {
                Failed::refused(format!("release {} has no scope {service}", release.serial.n))
            })?;
            let failed = |error| Failed::problem("can't print this", &error);
            fields.insert("policy".to_owned(), serde_json::to_value(&content.policy).map_err(failed)?);
            fields.insert("facts".to_owned(), serde_json::to_value(&content.facts).map_err(failed)?);
        }
        output::json(&shown)?;
        Ok(Exit::Done)
    }
}

fn file(path: &Path) -> Result<Exit, Failed> {
    let what = format!("can't read {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| Failed::problem(&what, &error))?;
    file.take(BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failed::problem(&what, &error))?;
    if bytes.len() > BYTES_MAX {
        return Err(Failed::refused(format!("{what}: it is over {BYTES_MAX} bytes")));
    }
    if bytes.starts_with(&ZSTD_MAGIC) {
        bytes = canonical::decompress(&bytes, BYTES_MAX).map_err(|error| Failed::problem(&what, &error))?;
    }
    let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
        return match String::from_utf8(bytes) {
            Ok(text) if text.trim().parse::<outrigger_snapshot::keys::PublicKey>().is_ok() => {
                output::line(text.trim());
                Ok(Exit::Done)
            }
            _ => Err(Failed::refused(format!("{} is nothing that a store holds", path.display()))),
        };
    };
    output::json(&unsealed(value)?)?;
    Ok(Exit::Done)
}

/// A signed record with its payload as JSON; anything else as it is.
fn unsealed(mut value: Value) -> Result<Value, Failed> {
    if let Some(payload) = value.get_mut("payload")
        && let Some(text) = payload.as_str()
    {
        *payload =
            serde_json::from_str(text).map_err(|error| Failed::problem("the payload is damaged", &error))?;
    }
    Ok(value)
}
