//! What a store holds for a scope, read and checked as a proxy would.

use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::keys::TrustedKeys;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Policy, SCHEMA};
use outrigger_snapshot::record::{Heartbeat, Serial};
use outrigger_store::Store;
use outrigger_store::reader::{
    Held, Older, Poll, ReadError, Reader, ReleaseInfo, ScopeSnapshot, Subscriber, Trust, Wanted,
};

use super::output::Failed;
use super::store::{store_failed, url_failed};
use super::times;
use crate::config::Resource;
use crate::state::trusted;

/// What was found.
pub(super) struct Found {
    pub(super) release: ReleaseInfo,
    pub(super) heartbeat: Option<Heartbeat>,
    /// `None`: the release doesn't know the scope.
    pub(super) content: Option<Content>,
}

/// A scope's plan-to-be.
pub(super) struct Content {
    pub(super) policy: Policy,
    pub(super) facts: Facts,
}

/// Reads the newest release of the store at `url` for `scope`, believing `trust_keys`, or what the store offers if there are
/// none.
pub(super) async fn read(url: &str, trust_keys: &[String], scope: ServiceName) -> Result<Found, Failed> {
    read_by(&mut reader(url, trust_keys, scope)?, url, None).await
}

/// As [`read`], of the release that is `wanted` if not the newest, and with the resources that the release was compiled from, if the store still has them.
pub(super) async fn read_written(
    url: &str,
    trust_keys: &[String],
    scope: ServiceName,
    wanted: Option<Wanted>,
) -> Result<(Found, Option<Vec<Resource>>), Failed> {
    let mut reader = reader(url, trust_keys, scope)?;
    let found = read_by(&mut reader, url, wanted).await?;
    let resources = written(&reader, &found.release).await;
    Ok((found, resources))
}

async fn written(reader: &Reader, release: &ReleaseInfo) -> Option<Vec<Resource>> {
    // A rejected revision is not what its release holds.
    let revision = reader.revision().await.ok().flatten().filter(|_| !release.rejected)?;
    revision.resources.iter().map(|value| Resource::from_value(value).ok()).collect()
}

fn reader(url: &str, trust_keys: &[String], scope: ServiceName) -> Result<Reader, Failed> {
    let store = Store::open(url).map_err(|error| url_failed(&error))?;
    let keys = trusted(trust_keys).map_err(|error| Failed::problem("", &error))?;
    let trust = if keys.is_empty() {
        Trust::FirstUse
    } else {
        Trust::Keys(TrustedKeys::new(keys).map_err(|error| Failed::problem("--trust-key", &error))?)
    };
    let subscriber = Subscriber { scope, node: "outrigger".to_owned(), schema: SCHEMA };
    Ok(Reader::new(store, trust, subscriber, None))
}

async fn read_by(reader: &mut Reader, url: &str, wanted: Option<Wanted>) -> Result<Found, Failed> {
    let poll = match wanted {
        None => reader.poll(&Held::default()).await.map_err(|error| read_failed(&error))?,
        Some(wanted) => match reader.older(wanted).await.map_err(|error| read_failed(&error))? {
            Older::Found(poll) => poll,
            Older::Missing(kept) => return Err(Failed::refused(missing(url, wanted, kept))),
        },
    };
    let heartbeat = reader.heartbeat().cloned();
    match poll {
        Poll::Unchanged => Err(Failed::refused(format!("nothing is published in {url} yet"))),
        Poll::ScopeMissing(release) => Ok(Found { release: *release, heartbeat, content: None }),
        Poll::New(snapshot) => {
            let ScopeSnapshot { release, policy, facts } = *snapshot;
            let bytes = |content: Option<Vec<u8>>| content.unwrap_or_default();
            let policy = Policy::decode(&bytes(policy.content))
                .map_err(|error| Failed::problem("the published policy is invalid", &error))?;
            let facts = Facts::decode(&bytes(facts.content))
                .map_err(|error| Failed::problem("the published facts are invalid", &error))?;
            Ok(Found { release, heartbeat, content: Some(Content { policy, facts }) })
        }
    }
}

/// That a release is not there.
fn missing(url: &str, wanted: Wanted, kept: Option<(Serial, Serial)>) -> String {
    let what = match wanted {
        Wanted::Number(n) => format!("{url} has no release {n}"),
        Wanted::At(time_ms) => format!("{url} has no release that was in force at {}", times::stamp(time_ms)),
    };
    match kept {
        Some((first, last)) => format!("{what}; it keeps {} to {}", first.n, last.n),
        None => format!("{what}; nothing is published there yet"),
    }
}

/// The failure to read a store.
pub(super) fn read_failed(error: &ReadError) -> Failed {
    match error {
        ReadError::Store(source) => store_failed(source, error),
        _ => Failed::problem("", error),
    }
}
