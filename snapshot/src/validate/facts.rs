//! Facts.

use super::{
    ENDPOINTS_MAX, Invalid, SERVICES_MAX, TRUST_BYTES_MAX, WEIGHT_MAX, at_most, check_version, gateway,
    invalid, parse,
};
use crate::facts::{Authorities, Discovery, Facts, UpstreamTls};
use crate::name::check_label;

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
        for (name, cluster) in &self.clusters {
            let place = name.to_string();
            if !cluster.peers.is_power_of_two() {
                return Err(invalid(&place, format!("{} peers is no power of two", cluster.peers)));
            }
            if let Some(tls) = &cluster.tls {
                check_upstream(&place, tls)?;
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
