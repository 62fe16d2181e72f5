//! How many endpoints of a cluster each of its callers has, and why.

use outrigger_snapshot::facts::{self, Discovery};
use outrigger_snapshot::policy::{Backend, Subset};
use outrigger_snapshot::subset::{self, CONNECTIONS_MAX};

/// In words, by what is known of the cluster. Of seats, and of the requests in flight that ask for more, only proxies know.
pub(super) fn text(backend: &Backend, cluster: Option<&facts::Cluster>) -> String {
    let Some(Subset { endpoints_min }) = backend.subset else { return "all endpoints".to_owned() };
    if backend.balance.key().is_some() {
        return "all endpoints: the key decides".to_owned();
    }
    let listed = cluster.and_then(|cluster| match &cluster.discovery {
        Discovery::Static(endpoints) => {
            Some((cluster.peers, endpoints.iter().filter(|one| one.weight > 0).count()))
        }
        Discovery::Dns(_) | Discovery::Srv(_) => None,
    });
    let Some((callers, endpoints)) = listed else {
        return format!("all endpoints while callers × endpoints are at most {CONNECTIONS_MAX}");
    };
    let sizes = format!("about {callers} callers × {endpoints} endpoints");
    match subset::size(callers, endpoints, endpoints_min as usize, false) {
        Some(size) => format!("each caller {size} endpoints or more: {sizes}"),
        None if callers as usize * endpoints <= CONNECTIONS_MAX => {
            format!("all endpoints: {sizes} are at most {CONNECTIONS_MAX}")
        }
        None => format!("all endpoints: {sizes} are too few callers to share them out"),
    }
}
