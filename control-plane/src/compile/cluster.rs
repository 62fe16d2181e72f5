//! Where the endpoints of a service are.

use std::net::SocketAddr;

use outrigger_snapshot::facts::{
    Authorities, Cluster, Discovery, DnsName, Endpoint, PEERS_DEFAULT, SrvName, TlsMode, UpstreamTls,
};
use outrigger_snapshot::name::{ClusterName, ServiceName};
use outrigger_snapshot::seats::Seats;

use super::index::Index;
use crate::config::model::{BackendTlsPolicy, Endpoints, Port, Service};

/// The facts of each port; none for a service that says nothing of endpoints.
pub(super) fn clusters(
    index: &Index<'_>,
    name: &ServiceName,
    service: &Service,
) -> Vec<(ClusterName, Cluster)> {
    let Some(endpoints) = &service.endpoints else { return Vec::new() };
    let mesh = index.mtls(service).is_some();
    let cluster = |port: &Port| {
        let upstream = index.upstream(name, &port.name).map(upstream);
        let mode = match &upstream {
            Some(_) => TlsMode::Tls,
            None if mesh => TlsMode::Mesh,
            None => TlsMode::None,
        };
        let discovery = discovery(endpoints, port, mode);
        (
            name.cluster(port.port),
            Cluster { discovery, peers: PEERS_DEFAULT, seats: Seats::default(), tls: upstream },
        )
    };
    service.ports.iter().map(cluster).collect()
}

fn upstream(policy: &BackendTlsPolicy) -> UpstreamTls {
    let listed: Vec<_> = policy.authorities.iter().map(|name| name.value.clone()).collect();
    UpstreamTls {
        hostname: policy.hostname.clone(),
        names: policy.names.clone(),
        authorities: if listed.is_empty() { Authorities::System } else { Authorities::Listed(listed) },
    }
}

fn discovery(endpoints: &Endpoints, port: &Port, tls: TlsMode) -> Discovery {
    match endpoints {
        Endpoints::Static(list) => {
            let endpoint = |endpoint: &crate::config::model::StaticEndpoint| Endpoint {
                address: SocketAddr::new(endpoint.address, endpoint.port.unwrap_or(port.target_port)),
                weight: endpoint.weight,
                zone: endpoint.zone.clone(),
                tls,
            };
            let mut endpoints: Vec<Endpoint> = list.iter().map(endpoint).collect();
            endpoints.sort_by_key(|endpoint| endpoint.address);
            Discovery::Static(endpoints)
        }
        Endpoints::Dns { name, port: written } => {
            Discovery::Dns(DnsName { name: name.clone(), port: written.unwrap_or(port.target_port), tls })
        }
        Endpoints::Srv { name } => Discovery::Srv(SrvName { name: name.clone(), tls }),
    }
}
