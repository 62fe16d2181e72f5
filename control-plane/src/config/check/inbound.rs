//! Inbound policies apply to something, and what they say has an effect.

use outrigger_snapshot::policy::{Access, AccessRule, Mtls};

use super::super::layers::{Layer, Layers};
use super::super::model::{InboundPolicy, InboundSettings, Mesh, Target};
use super::super::problem::Problems;
use super::super::resource::Resource;
use super::policies::field;
use super::{Services, mesh};

pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let layers = Layers::inbound(resources);
    let mesh = mesh::of(resources);
    for resource in resources {
        let Some(policy) = resource.spec().inbound_policy() else { continue };
        check_shed(&[Layer { resource, policy }], problems);
        for target in policy.targets.iter().filter(|target| !target.is_gateway) {
            check_protocol(resource, policy, target, services, problems);
            check_denials(resource, policy, target, services, problems);
            check_tls(resource, policy, target, mesh, services, problems);
            for port in services.ports_of(target) {
                // More than once where a policy has several targets, and said once.
                check_shed(&layers.of(&target.service.value, &port.name), problems);
            }
        }
    }
}

/// A port that carries no requests has nothing to protect but who may connect.
fn check_protocol(
    resource: &Resource,
    policy: &InboundPolicy,
    target: &Target,
    services: &Services<'_>,
    problems: &mut Problems,
) {
    let name = &target.service.value;
    if policy.settings.is_access_alone() {
        return;
    }
    let Some((_, service)) = services.by_name.get(name) else { return };
    let known = service.ports_whole || target.section.is_some();
    let mut ports = services.ports_of(target).peekable();
    if !known || ports.peek().is_none() || ports.any(|port| port.protocol.is_http()) {
        return;
    }
    problems.add(|| {
        let expected = "a port of protocol HTTP, HTTP2 or GRPC, or nothing but authorization";
        match &target.section {
            Some(section) => {
                let message = format!("port {} of {name} does not carry HTTP", section.value);
                resource.problem(section.at, format!("{}.sectionName", field(target)), message)
            }
            None => {
                let message = format!("{name} has no port that carries HTTP");
                resource.problem(target.service.at, field(target), message)
            }
        }
        .expected(expected)
    });
}

/// Of a connection nobody knows method or path: a rule that denies by them would let it through.
fn check_denials(
    resource: &Resource,
    policy: &InboundPolicy,
    target: &Target,
    services: &Services<'_>,
    problems: &mut Problems,
) {
    let rules = policy.settings.authorization.iter().flat_map(|authorization| &authorization.rules);
    let denies = |rule: &&AccessRule| rule.access == Access::Deny && rule.about.needs_request();
    let Some(rule) = { rules }.find(denies) else { return };
    let Some(port) = services.ports_of(target).find(|port| !port.protocol.is_http()) else { return };
    problems.add(|| {
        let message = format!(
            "the rule {:?} denies by method or path, which connections to port {} of {} do not have",
            rule.name, port.name, target.service.value
        );
        let expected = "a sectionName for each port that carries HTTP, or rules by identity and namespace";
        resource.problem(target.service.at, field(target), message).expected(expected)
    });
}

/// Whom `Strict` lets in has a certificate of the mesh, and never meets those that are shown to others.
fn check_tls(
    resource: &Resource,
    policy: &InboundPolicy,
    target: &Target,
    mesh: Option<&Mesh>,
    services: &Services<'_>,
    problems: &mut Problems,
) {
    let Some(at) = policy.written.get("tls").copied().filter(|_| policy.settings.tls.is_some()) else {
        return;
    };
    let name = &target.service.value;
    if mesh::asked_by(name, mesh, services) == Some(Mtls::Strict) {
        problems.add(|| {
            let message =
                format!("has no effect: {name} is mtls: Strict, and lets in nobody but callers of the mesh");
            resource.problem(at, "spec.tls", message).expected("a Service with mtls: Permissive or Disabled")
        });
    }
}

/// What is said about shedding by a policy that is not wider than the one that switches it off.
fn check_shed(layers: &[Layer<'_, InboundSettings>], problems: &mut Problems) {
    let decides = layers.iter().rposition(|layer| layer.policy.settings.shed.is_some());
    let Some(decides) = decides.filter(|index| layers[*index].policy.settings.shed == Some(false)) else {
        return;
    };
    let off = layers[decides];
    for layer in &layers[decides..] {
        for name in ["tolerance", "exempt"] {
            let path = format!("shed.{name}");
            let Some(at) = layer.spot(&path) else { continue };
            problems.add(|| {
                let same = layer.resource.key() == off.resource.key();
                let by = if same { String::new() } else { format!(" by {}", off.resource.key()) };
                let message = format!("has no effect: shedding is off{by}");
                let expected = format!("enabled: true, or no {name}");
                layer.resource.problem(at, format!("spec.{path}"), message).expected(expected)
            });
        }
    }
}
