//! What a rule for calls to the workload knows of overload: the shared state, and who is exempt.

use std::sync::Arc;

use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{self, Backend, Probe};

use super::{FEW_CORES, Overload, TOLERANCE, TOLERANCE_FEW_CORES};

/// Where gRPC asks for health (grpc/grpc, "GRPC Health Checking Protocol").
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// See the module.
#[derive(Debug)]
pub struct Guard {
    /// The state of the application.
    pub overload: Arc<Overload>,
    exempt: Box<[String]>,
}

impl Guard {
    /// For one port, whose health check is never shed.
    pub fn new(overload: Arc<Overload>, inbound: &policy::Inbound, backend: &Backend) -> Self {
        let checked = backend.health_check.as_ref().and_then(|check| match &check.probe {
            Probe::Http { path, .. } => path.split('?').next().map(str::to_owned),
            Probe::Grpc { .. } | Probe::Tcp => None,
        });
        let exempt = inbound.shed.iter().flat_map(|shed| shed.exempt.iter().cloned()).chain(checked);
        Self { overload, exempt: exempt.collect() }
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
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use outrigger_snapshot::policy::{Inbound, Protocol, Shed};

    use super::*;

    fn guard() -> Guard {
        let shed = Shed { tolerance_percent: None, exempt: vec!["/ready".into()] };
        let inbound = Inbound { shed: Some(shed), ..Inbound::default() };
        Guard::new(Overload::new(1.5), &inbound, &Backend::defaults_for(Protocol::Http))
    }

    fn head(path: &str) -> RequestHead {
        RequestHead::new(Method::GET, "cart".parse().unwrap(), path.parse().unwrap(), HeaderMap::new())
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
