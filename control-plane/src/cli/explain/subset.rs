//! How many endpoints of a cluster each of its callers has, and why.

use outrigger_snapshot::facts::{self, Discovery};
use outrigger_snapshot::policy::{Backend, Subset};
use outrigger_snapshot::subset::{self, CONNECTIONS_MAX};

/// In words, by what is known of the cluster. Of the requests in flight that ask for more, only proxies know.
pub(super) fn text(backend: &Backend, cluster: Option<&facts::Cluster>) -> String {
    let Some(Subset { endpoints_min }) = backend.subset else { return "all endpoints".to_owned() };
    if backend.balance.key().is_some() {
        return "all endpoints: the key decides".to_owned();
    }
    let listed = cluster.and_then(|cluster| match &cluster.discovery {
        Discovery::Static(endpoints) => {
            Some((cluster, endpoints.iter().filter(|one| one.weight > 0).count()))
        }
        Discovery::Dns(_) | Discovery::Srv(_) => None,
    });
    let Some((cluster, endpoints)) = listed else {
        return format!("all endpoints while callers × endpoints are at most {CONNECTIONS_MAX}");
    };
    let callers = cluster.peers;
    let sizes = format!("about {callers} callers × {endpoints} endpoints");
    let seats = cluster.seats.len();
    let size = |seated| subset::size(callers, endpoints, endpoints_min as usize, seated);
    match (size(seats > 0), size(false)) {
        (None, _) if callers as usize * endpoints <= CONNECTIONS_MAX => {
            format!("all endpoints: {sizes} are at most {CONNECTIONS_MAX}")
        }
        (None, _) if seats > 0 => format!("all endpoints: {endpoints} are no more than are asked for"),
        (None, _) => format!("all endpoints: {sizes} are too few callers to share them out by name"),
        (Some(size), _) if seats == 0 => format!("each caller {size} endpoints or more, by name: {sizes}"),
        (Some(size), new) => {
            let new = new.map_or("all".to_owned(), |new| new.to_string());
            format!("each of {seats} callers with seats {size} endpoints or more, a new one {new}: {sizes}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use outrigger_snapshot::facts::{Cluster, Endpoint, TlsMode};
    use outrigger_snapshot::policy::Protocol;
    use outrigger_snapshot::seats::Seats;

    use super::*;

    #[test]
    fn a_cluster_says_who_has_how_many_of_its_endpoints() {
        let endpoint = |nth: u16| {
            let address = SocketAddr::from(([10, 0, 0, 1], nth));
            Endpoint { address, weight: 1, zone: None, tls: TlsMode::None }
        };
        for (peers, seats, endpoints, words) in [
            (16, 0, 100, "all endpoints: about 16 callers × 100 endpoints are at most 2000"),
            (
                128,
                0,
                100,
                "all endpoints: about 128 callers × 100 endpoints are too few callers to share them out by name",
            ),
            (
                128,
                100,
                100,
                "each of 100 callers with seats 12 endpoints or more, a new one all: about 128 callers × 100 endpoints",
            ),
            (
                256,
                200,
                100,
                "each of 200 callers with seats 12 endpoints or more, a new one 50: about 256 callers × 100 endpoints",
            ),
            (1_024, 0, 100, "each caller 13 endpoints or more, by name: about 1024 callers × 100 endpoints"),
            (256, 200, 12, "all endpoints: 12 are no more than are asked for"),
        ] {
            let discovery = Discovery::Static((1..=endpoints).map(endpoint).collect());
            let seats = Seats::new((0..seats).collect()).unwrap_or_default();
            let cluster = Cluster { discovery, peers, seats, tls: None };
            assert_eq!(text(&Backend::defaults_for(Protocol::Http), Some(&cluster)), words);
        }
    }
}
