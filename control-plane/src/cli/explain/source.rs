//! The configuration by which something is explained: what is published, was published, runs, or lies in files.

use std::path::PathBuf;

use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::Policy;
use outrigger_store::reader::Wanted;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::admin::Admin;
use crate::cli::files;
use crate::cli::output::{self, Failed};
use crate::cli::published::{self, Content};
use crate::cli::times;
use crate::{compile, config};

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) enum Source<'a> {
    /// A store, and which of its releases if not the newest.
    Store { url: &'a str, trust_key: &'a [String], wanted: Option<Wanted> },
    /// Files, compiled here.
    Files(&'a [PathBuf]),
    /// The proxy with this admin address.
    Proxy(&'a str),
}

/// What a sidecar would run.
pub(in crate::cli) struct Explained {
    /// In words, where it comes from.
    pub(in crate::cli) origin: String,
    /// The service whose sidecar it is.
    pub(in crate::cli) scope: ServiceName,
    pub(in crate::cli) content: Content,
    /// What people wrote, if that is at hand.
    pub(in crate::cli) written: Option<Vec<config::Resource>>,
}

/// What a proxy says of itself.
#[derive(Debug, Deserialize)]
struct Informed {
    service: ServiceName,
    node: String,
}

/// What a proxy says that it runs.
#[derive(Debug, Deserialize)]
struct Dumped {
    running: Running,
    policy: Value,
    facts: Value,
}

#[derive(Debug, Deserialize)]
struct Running {
    release: Release,
}

#[derive(Debug, Deserialize)]
struct Release {
    n: u64,
}

impl Source<'_> {
    /// Reads what the sidecar of `asked` runs; without that, of `guessed`, as far as there is no better answer.
    pub(in crate::cli) async fn read(
        self,
        asked: Option<&ServiceName>,
        guessed: Option<ServiceName>,
    ) -> Result<Explained, Failed> {
        let scope = asked.cloned().or(guessed);
        match self {
            Self::Files(files) => compiled_here(files, asked, scope),
            Self::Proxy(address) => running(address, asked).await,
            Self::Store { url, trust_key, wanted } => {
                let scope = scope.ok_or_else(|| {
                    Failed::usage("say whose sidecar the request goes out through: --service NAME")
                })?;
                stored(url, trust_key, scope, wanted).await
            }
        }
    }
}

async fn stored(
    url: &str,
    trust_key: &[String],
    scope: ServiceName,
    wanted: Option<Wanted>,
) -> Result<Explained, Failed> {
    let (found, written) = published::read_written(url, trust_key, scope.clone(), wanted).await?;
    let n = found.release.serial.n;
    let content = found.content.ok_or_else(|| {
        Failed::refused(format!("release {n} has no scope {scope}; name the calling service with --service"))
    })?;
    let since = match wanted {
        None => String::new(),
        Some(_) => format!(", published at {}", times::stamp(found.release.time_ms)),
    };
    let origin = format!("the sidecar of {scope}, release {n} of {url}{since}");
    Ok(Explained { origin, scope, content, written })
}

async fn running(address: &str, asked: Option<&ServiceName>) -> Result<Explained, Failed> {
    let admin = Admin::new(address)?;
    let Informed { service: scope, node } = admin.fetch("/server_info", &[]).await?;
    if let Some(asked) = asked.filter(|asked| **asked != scope) {
        return Err(Failed::refused(format!(
            "the proxy at {address} stands beside {scope}, not {asked} (--service)"
        )));
    }
    let Dumped { running, policy, facts } = admin.fetch("/config_dump", &[]).await?;
    let (policy, facts) = (policy.to_string(), facts.to_string());
    let policy = Policy::decode(policy.as_bytes())
        .map_err(|error| Failed::problem("the policy that the proxy runs can't be read", &error))?;
    let facts = Facts::decode(facts.as_bytes())
        .map_err(|error| Failed::problem("the facts that the proxy runs can't be read", &error))?;
    let n = running.release.n;
    let origin = format!("the proxy {node} of {scope} at {address}, which runs release {n}");
    Ok(Explained { origin, scope, content: Content { policy, facts }, written: None })
}

fn compiled_here(
    files: &[PathBuf],
    asked: Option<&ServiceName>,
    scope: Option<ServiceName>,
) -> Result<Explained, Failed> {
    let checked = config::load(&[], &files::read(files)?).map_err(|problems| {
        for problem in &problems {
            output::remark(&problem.to_string());
        }
        Failed::refused("the files have problems")
    })?;
    compiled(&checked, asked, scope)
}

/// What these resources make of the sidecar of `asked`, or of another if that is none of theirs.
pub(in crate::cli) fn compiled(
    checked: &config::Checked,
    asked: Option<&ServiceName>,
    scope: Option<ServiceName>,
) -> Result<Explained, Failed> {
    let compiled = compile::compile(checked);
    let known = |scope: &ServiceName| compiled.scopes.contains_key(scope);
    if let Some(service) = asked.filter(|service| !known(service)) {
        return Err(Failed::refused(format!("there is no service {service} (--service) in these files")));
    }
    let scope = asked.cloned().or(scope).filter(known).or_else(|| compiled.scopes.keys().next().cloned());
    let scope = scope.ok_or_else(|| Failed::refused("these files have no service"))?;
    match (compiled.policy(&scope).cloned(), compiled.facts(&scope).cloned()) {
        (Some(policy), Some(facts)) => {
            let origin = format!("the sidecar of {scope}, by these files");
            let written = Some(checked.resources().to_vec());
            Ok(Explained { origin, scope, content: Content { policy, facts }, written })
        }
        _ => Err(Failed::refused(format!("nothing is compiled for {scope}"))),
    }
}
