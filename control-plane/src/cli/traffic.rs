//! `diff --traffic`: an access log, routed by two versions.

mod changes;
mod line;
mod log;
mod routes;

use std::path::{Path, PathBuf};

use clap::Args;
use outrigger_snapshot::name::ServiceName;
use outrigger_store::reader::Wanted;

use self::changes::Changes;
use self::log::{Log, Read};
use self::routes::Routes;
use super::client::Client;
use super::explain::source::{Explained, Source, compiled};
use super::output::{self, Exit, Failed};
use super::{Server, files};
use crate::api::wire::Resources;
use crate::config;

/// Which log, and which versions.
#[derive(Debug, Args)]
pub(super) struct Traffic {
    /// Route the requests of this access log (lines of JSON; - for standard input) by both versions, and show what goes elsewhere
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_TRAFFIC")]
    traffic: Option<PathBuf>,
    /// With --traffic: what is published in this store is what is compared with [default: the newest revision of --server]
    #[arg(long, value_name = "URL", env = "OUTRIGGER_STORE")]
    store: Option<String>,
    /// With --traffic: this release of the store is compared with, not the newest
    #[arg(long, value_name = "N", env = "OUTRIGGER_FROM", requires = "store")]
    from: Option<u64>,
    /// With --traffic: this release of the store instead of files
    #[arg(long, value_name = "N", env = "OUTRIGGER_TO", requires = "store")]
    to: Option<u64>,
    /// With --traffic: the service whose sidecar, or the gateway, that wrote the log
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_SERVICE")]
    service: Option<ServiceName>,
    /// A public key that is believed [default: those that the store offers]
    #[arg(long, value_name = "KEY", env = "OUTRIGGER_TRUST_KEY", value_delimiter = ',')]
    trust_key: Vec<String>,
}

impl Traffic {
    /// The log, if one is to be routed.
    pub(super) fn log(&self) -> Option<&Path> {
        self.traffic.as_deref()
    }

    /// Routes the requests of `log`. Whether any of them would go elsewhere.
    pub(super) async fn run(&self, log: &Path, files: &[PathBuf], server: &Server) -> Result<Exit, Failed> {
        let service = self.service.as_ref();
        let service = service.ok_or_else(|| {
            Failed::usage("say whose sidecar, or which gateway, wrote the log: --service NAME")
        })?;
        let before = self.before(service, server).await?;
        let after = self.after(service, &before, files).await?;
        let (before, after) = (Routes::new(&before)?, Routes::new(&after)?);
        let mut changes = Changes::default();
        let mut log = Log::open(log)?;
        while let Some(read) = log.next()? {
            if let Read::Request(asked) = read {
                changes.add((before.find(&asked), after.find(&asked)), &before, &after, &asked, log.number());
            }
        }
        log.told(before.headers().chain(after.headers()))?;
        changes.tell(&before, &after);
        Ok(if changes.any() { Exit::Found } else { Exit::Done })
    }

    async fn before(&self, service: &ServiceName, server: &Server) -> Result<Explained, Failed> {
        if let Some(url) = &self.store {
            let wanted = self.from.map(Wanted::Number);
            let source = Source::Store { url, trust_key: &self.trust_key, wanted };
            return source.read(Some(service), None).await;
        }
        let newest: Resources = Client::new(server)?.fetch("/v1/resources", &[]).await?;
        let resources =
            newest.resources.iter().map(config::Resource::from_value).collect::<Result<Vec<_>, _>>();
        let resources = resources.map_err(|problems| told(&problems))?;
        let checked = config::load(&resources, &[]).map_err(|problems| told(&problems))?;
        compiled(&checked, Some(service), None)
    }

    async fn after(
        &self,
        service: &ServiceName,
        before: &Explained,
        paths: &[PathBuf],
    ) -> Result<Explained, Failed> {
        if let (Some(n), Some(url)) = (self.to, &self.store) {
            let source = Source::Store { url, trust_key: &self.trust_key, wanted: Some(Wanted::Number(n)) };
            return source.read(Some(service), None).await;
        }
        if before.written.is_none() {
            output::remark(
                "what that release was made of is gone: the files are taken for all that there would be",
            );
        }
        let stored = before.written.as_deref().unwrap_or_default();
        let checked = config::load(stored, &files::read(paths)?).map_err(|problems| told(&problems))?;
        compiled(&checked, Some(service), None)
    }
}

fn told(problems: &config::Problems) -> Failed {
    for problem in problems {
        output::remark(&problem.to_string());
    }
    Failed::refused("the files have problems")
}
