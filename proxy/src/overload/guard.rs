//! What a rule for calls to the workload knows of overload: the shared state, who is exempt, and whose word on priorities counts.

use std::net::IpAddr;
use std::sync::Arc;

use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{self, Backend, Probe};
use outrigger_snapshot::validate::network;

use super::priority::{ATTEMPT, PRIORITY};
use super::{FEW_CORES, Overload, Priority, TOLERANCE, TOLERANCE_FEW_CORES};

/// Where gRPC asks for health (grpc/grpc, "GRPC Health Checking Protocol").
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// See the module.
#[derive(Debug)]
pub struct Guard {
    /// The state of the application.
    pub overload: Arc<Overload>,
    exempt: Box<[String]>,
    trusted: Box<[(IpAddr, u8)]>,
}

impl Guard {
    /// For one port, whose health check is never shed.
    pub fn new(overload: Arc<Overload>, inbound: &policy::Inbound, backend: &Backend) -> Self {
        let checked = backend.health_check.as_ref().and_then(|check| match &check.probe {
            Probe::Http { path, .. } => path.split('?').next().map(str::to_owned),
            Probe::Grpc { .. } | Probe::Tcp => None,
        });
        let exempt = inbound.shed.iter().flat_map(|shed| shed.exempt.iter().cloned()).chain(checked);
        let trusted = inbound.trusted.iter().filter_map(|text| network(text));
        Self { overload, exempt: exempt.collect(), trusted: trusted.collect() }
    }

    /// The tolerance that is configured, or that fits this machine's number of cores: the application's is not known.
    pub fn tolerance(shed: &policy::Shed, cores: usize) -> f64 {
        match shed.tolerance_percent {
            Some(percent) => f64::from(percent) / 100.0,
            None if cores < FEW_CORES => TOLERANCE_FEW_CORES,
            None => TOLERANCE,
        }
    }

    /// Whether a request passes whatever the load.
    pub fn exempts(&self, head: &RequestHead) -> bool {
        let path = head.path();
        path.starts_with(GRPC_HEALTH) || self.exempt.iter().any(|exempt| exempt == path)
    }

    /// The class of a request; of callers that are not trusted, all are alike.
    pub fn priority(&self, head: &RequestHead, peer: &str) -> Priority {
        let trusts = |address: IpAddr| self.trusted.iter().any(|network| contains(network, address));
        match peer.parse() {
            Ok(address) if trusts(address) => Priority::read(head.header(&PRIORITY), head.header(&ATTEMPT)),
            _ => Priority::DEFAULT,
        }
    }
}

fn contains((network, bits): &(IpAddr, u8), address: IpAddr) -> bool {
    let bits = u32::from(*bits);
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use outrigger_snapshot::policy::{Inbound, Protocol, Shed};

    use super::*;

    fn guard() -> Guard {
        let shed = Shed { tolerance_percent: None, exempt: vec!["/ready".into()] };
        let trusted = ["10.1.0.0/16", "::1", "0.0.0.0/32"].map(str::to_owned).to_vec();
        let inbound = Inbound { shed: Some(shed), rate_limits: vec![], trusted };
        Guard::new(Overload::new(1.5), &inbound, &Backend::defaults_for(Protocol::Http))
    }

    fn head(path: &str) -> RequestHead {
        let headers = HeaderMap::from_iter([(PRIORITY, HeaderValue::from_static("0"))]);
        RequestHead::new(Method::GET, "cart".parse().unwrap(), path.parse().unwrap(), headers)
    }

    #[test]
    fn only_the_trusted_are_believed() {
        for (peer, priority) in [
            ("10.1.255.3", Priority::CRITICAL),
            ("::ffff:10.1.0.1", Priority::CRITICAL),
            ("::1", Priority::CRITICAL),
            ("10.2.0.1", Priority::DEFAULT),
            ("::2", Priority::DEFAULT),
            ("nobody", Priority::DEFAULT),
        ] {
            assert_eq!(guard().priority(&head("/"), peer), priority, "{peer}");
        }
    }

    #[test]
    fn health_is_asked_for_whatever_the_load() {
        for (path, exempt) in
            [("/ready", true), ("/grpc.health.v1.Health/Check", true), ("/", false), ("/ready/x", false)]
        {
            assert_eq!(guard().exempts(&head(path)), exempt, "{path}");
        }
    }

    #[test]
    fn few_cores_tolerate_more() {
        let shed = |tolerance_percent| Shed { tolerance_percent, exempt: vec![] };
        assert_eq!([2, 4].map(|cores| Guard::tolerance(&shed(None), cores)), [2.0, 1.5]);
        assert_eq!(Guard::tolerance(&shed(Some(300)), 2), 3.0);
    }
}
