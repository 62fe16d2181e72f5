//! How endpoints are dialled.

use outrigger_snapshot::facts::{self, Discovery, TlsMode};
use outrigger_snapshot::policy::Backend;

use super::Builder;
use crate::upstream_tls::{Tls, UpstreamSettings};

impl Builder<'_> {
    /// How the endpoints of a cluster are dialled by this proxy.
    pub(super) fn tls(&mut self, facts: &facts::Cluster, backend: &Backend) -> Tls {
        match (tls_of(facts), &facts.tls) {
            // A caller without identity has nothing to prove, and its calls stay as they were.
            (TlsMode::Mesh, _) if self.identity => Tls::Mesh,
            (TlsMode::Tls, Some(asked)) => {
                let shown = backend.client_certificate.as_ref();
                let settings = UpstreamSettings::new(asked, self.facts, shown);
                Tls::Server(self.registry.upstream(settings, self.facts))
            }
            (TlsMode::None | TlsMode::Mesh | TlsMode::Tls, _) => Tls::None,
        }
    }
}

/// How the endpoints of a cluster are dialled: all alike, as the service decides.
fn tls_of(cluster: &facts::Cluster) -> TlsMode {
    match &cluster.discovery {
        Discovery::Static(endpoints) => endpoints.first().map_or(TlsMode::None, |endpoint| endpoint.tls),
        Discovery::Dns(dns) => dns.tls,
        Discovery::Srv(srv) => srv.tls,
    }
}
