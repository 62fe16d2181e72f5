//! What a rule for calls to the workload knows of overload: the shared state, and who is exempt.

use std::sync::Arc;

use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy;

use super::{FEW_CORES, Overload, TOLERANCE, TOLERANCE_FEW_CORES};

/// See the module.
#[derive(Debug)]
pub struct Guard {
    /// The state of the application.
    pub overload: Arc<Overload>,
    exempt: Box<[String]>,
}

impl Guard {
    /// For one port.
    pub fn new(overload: Arc<Overload>, inbound: &policy::Inbound) -> Self {
        Self { overload, exempt: inbound.shed.iter().flat_map(|shed| shed.exempt.iter().cloned()).collect() }
    }

    /// The tolerance that is configured, or that fits this machine's number of cores: the application's is not known.
    pub fn tolerance(shed: &policy::Shed, cores: usize) -> f64 {
        match shed.tolerance_percent {
            Some(percent) => f64::from(percent) / 100.0,
            None if cores < FEW_CORES => TOLERANCE_FEW_CORES,
            None => TOLERANCE,
        }
    }

    /// Whether the path of a request is one that is listed as exempt.
    pub fn lists(&self, head: &RequestHead) -> bool {
        self.exempt.iter().any(|exempt| exempt == head.path())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use outrigger_snapshot::policy::{Inbound, Shed};

    use super::*;

    fn guard() -> Guard {
        let shed = Shed { tolerance_percent: None, exempt: vec!["/ready".into()] };
        let inbound = Inbound { shed: Some(shed), ..Inbound::default() };
        Guard::new(Overload::new(1.5), &inbound)
    }

    fn head(path: &str) -> RequestHead {
        RequestHead::new(Method::GET, "cart".parse().unwrap(), path.parse().unwrap(), HeaderMap::new())
    }

    #[test]
    fn paths_are_listed_whole() {
        for (path, exempt) in [("/ready", true), ("/ready?now", true), ("/", false), ("/ready/x", false)] {
            assert_eq!(guard().lists(&head(path)), exempt, "{path}");
        }
    }

    #[test]
    fn few_cores_tolerate_more() {
        let shed = |tolerance_percent| Shed { tolerance_percent, exempt: vec![] };
        assert_eq!([2, 4].map(|cores| Guard::tolerance(&shed(None), cores)), [2.0, 1.5]);
        assert_eq!(Guard::tolerance(&shed(Some(300)), 2), 3.0);
    }
}
