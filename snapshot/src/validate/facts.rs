//! Facts.

use super::{
    ENDPOINTS_MAX, Invalid, SEATS, SERVICES_MAX, TRUST_BYTES_MAX, WEIGHT_MAX, at_most, check_version,
    gateway, invalid, parse,
};
use crate::facts::{Authorities, Discovery, DnsName, Facts, SrvName, TlsMode, UpstreamTls};
use crate::name::check_label;
use crate::seats::SEATS_TOTAL_MAX;

impl Facts {
    /// Decodes and checks the content of a facts object.
    pub fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let facts: Self = parse("facts", bytes)?;
        facts.check()?;
        Ok(facts)
    }

    /// Checks what the types cannot say.
    pub fn check(&self) -> Result<(), Invalid> {
        check_version(self.schema, self.features.iter())?;
        at_most("facts", "clusters", self.clusters.len(), SERVICES_MAX)?;
        if let Some(trust) = &self.trust {
            at_most("trust", "bytes of trust bundle", trust.bundle.len(), TRUST_BYTES_MAX)?;
            at_most("trust", "bytes of revocation lists", trust.revocations.len(), TRUST_BYTES_MAX)?;
        }
        for (name, pem) in &self.authorities {
            at_most(&name.to_string(), "bytes of certificates", pem.len(), TRUST_BYTES_MAX)?;
        }
        let seats = self.clusters.values().map(|cluster| cluster.seats.len()).sum();
        at_most("facts", "seats", seats, SEATS_TOTAL_MAX)?;
        if seats > 0 && !self.features.contains(SEATS) {
            return Err(invalid("facts", format!("they have seats, but not the feature {SEATS:?}")));
        }
        for (name, cluster) in &self.clusters {
            let place = name.to_string();
            if !cluster.peers.is_power_of_two() {
                return Err(invalid(&place, format!("{} peers is no power of two", cluster.peers)));
            }
            at_most(&place, "seats of its callers", cluster.seats.len(), cluster.peers as usize)?;
            match &cluster.tls {
                Some(tls) => check_upstream(&place, tls)?,
                // They would be dialled in the clear.
                None if dials_servers(&cluster.discovery) => {
                    return Err(invalid(&place, "endpoints of TLS, and nothing is asked of them".into()));
                }
                None => {}
            }
            match &cluster.discovery {
                Discovery::Static(endpoints) => {
                    at_most(&place, "endpoints", endpoints.len(), ENDPOINTS_MAX)?;
                    for endpoint in endpoints {
                        if endpoint.weight == 0
                            || endpoint.weight > WEIGHT_MAX
                            || endpoint.address.port() == 0
                        {
                            return Err(invalid(
                                &place,
                                format!("endpoint {} with weight {}", endpoint.address, endpoint.weight),
                            ));
                        }
                    }
                }
                Discovery::Dns(dns) if dns.port == 0 => return Err(invalid(&place, "DNS port 0".into())),
                Discovery::Dns(dns) => check_dns_name(&place, &dns.name)?,
                Discovery::Srv(srv) => check_dns_name(&place, &srv.name)?,
            }
        }
        Ok(())
    }
}

fn dials_servers(discovery: &Discovery) -> bool {
    match discovery {
        Discovery::Static(endpoints) => endpoints.iter().any(|endpoint| endpoint.tls == TlsMode::Tls),
        Discovery::Dns(DnsName { tls, .. }) | Discovery::Srv(SrvName { tls, .. }) => *tls == TlsMode::Tls,
    }
}

fn check_upstream(place: &str, tls: &UpstreamTls) -> Result<(), Invalid> {
    at_most(place, "names", tls.names.len(), gateway::AUTHORITIES_MAX)?;
    check_dns_name(place, &tls.hostname)?;
    match &tls.authorities {
        Authorities::Listed(names) if names.is_empty() => {
            Err(invalid(place, "nobody to believe about its endpoints".into()))
        }
        Authorities::Listed(names) => at_most(place, "authorities", names.len(), gateway::AUTHORITIES_MAX),
        Authorities::System => Ok(()),
    }
}

fn check_dns_name(place: &str, name: &str) -> Result<(), Invalid> {
    let label = |label: &str| check_label(&label.trim_start_matches('_').to_ascii_lowercase()).is_ok();
    let valid = !name.is_empty() && name.len() <= 253 && name.split('.').all(label);
    if valid { Ok(()) } else { Err(invalid(place, format!("{name:?} is no DNS name"))) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::facts::Cluster;
    use crate::policy::SCHEMA;
    use crate::seats::Seats;

    #[test]
    fn seats_are_of_counted_callers_named_as_a_feature_and_bounded() {
        let facts = |peers: u32, seats: &[usize], features: &[&str]| {
            let cluster = |seats: &usize| Cluster {
                discovery: Discovery::Static(Vec::new()),
                peers,
                seats: Seats::new((0..*seats as u64).collect()).unwrap_or_default(),
                tls: None,
            };
            let named = |(nth, seats)| (format!("a{nth}:80").parse().unwrap(), cluster(seats));
            Facts {
                schema: SCHEMA,
                features: features.iter().map(|feature| (*feature).to_owned()).collect(),
                clusters: seats.iter().enumerate().map(named).collect(),
                trust: None,
                authorities: BTreeMap::new(),
            }
        };
        for (facts, sound) in [
            (facts(16, &[16], &[SEATS]), true),
            (facts(16, &[0], &[]), true),
            (facts(16, &[17], &[SEATS]), false),
            (facts(16, &[16], &[]), false),
            (facts(4_096, &[4_096; 8], &[SEATS]), true),
            (facts(4_096, &[4_096; 9], &[SEATS]), false),
        ] {
            assert_eq!(facts.check().is_ok(), sound, "{:?}", facts.check());
            let read = Facts::decode(&serde_json::to_vec(&facts).unwrap());
            assert_eq!(read.ok(), Some(facts).filter(|_| sound));
        }
    }

    #[test]
    fn endpoints_of_tls_come_with_what_is_asked_of_them() {
        let facts = |mode: TlsMode, tls: Option<UpstreamTls>| {
            let discovery = Discovery::Dns(DnsName { name: "a.test".into(), port: 443, tls: mode });
            let cluster = Cluster { discovery, peers: 16, seats: Default::default(), tls };
            let clusters = BTreeMap::from([("a:443".parse().unwrap(), cluster)]);
            Facts {
                schema: SCHEMA,
                features: Default::default(),
                clusters,
                trust: None,
                authorities: BTreeMap::new(),
            }
        };
        let asked =
            |authorities| Some(UpstreamTls { hostname: "a.test".into(), names: Vec::new(), authorities });
        assert!(facts(TlsMode::Tls, asked(Authorities::System)).check().is_ok());
        assert!(facts(TlsMode::Tls, None).check().is_err());
        assert!(facts(TlsMode::Tls, asked(Authorities::Listed(Vec::new()))).check().is_err());
        assert!(facts(TlsMode::None, None).check().is_ok());
    }
}
