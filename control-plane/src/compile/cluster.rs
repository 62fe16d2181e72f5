//! Where the endpoints of a service are.

use std::net::SocketAddr;

use outrigger_snapshot::facts::{Cluster, Discovery, DnsName, Endpoint, PEERS_DEFAULT, SrvName, TlsMode};
use outrigger_snapshot::name::{ClusterName, ServiceName};

use crate::config::model::{Endpoints, Port, Service};

/// The facts of each port; none for a service that says nothing of endpoints.
pub(super) fn clusters(name: &ServiceName, service: &Service, tls: TlsMode) -> Vec<(ClusterName, Cluster)> {
    let Some(endpoints) = &service.endpoints else { return Vec::new() };
    let cluster = |port: &Port| {
        let discovery = discovery(endpoints, port, tls);
        (name.cluster(port.port), Cluster { discovery, peers: PEERS_DEFAULT })
    };
    service.ports.iter().map(cluster).collect()
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
