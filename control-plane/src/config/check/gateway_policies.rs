//! Inbound policies of gateways say what can hold where strangers call.

use std::collections::BTreeMap;

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Access, AccessRule, Conditions, RateKey};

use super::super::model::{Gateway, InboundPolicy, Listener, Spec, Target};
use super::super::nearest::nearest;
use super::super::problem::Problems;
use super::super::resource::Resource;
use super::policies::field;
use super::service_name;

pub(super) fn check(resources: &[Resource], problems: &mut Problems) {
    let gateways: BTreeMap<ServiceName, &Gateway> = resources
        .iter()
        .filter_map(|resource| match resource.spec() {
            Spec::Gateway(gateway) => Some((service_name(resource)?, gateway)),
            _ => None,
        })
        .collect();
    for resource in resources {
        let Some(policy) = resource.spec().inbound_policy() else { continue };
        let mut said = false;
        for target in policy.targets.iter().filter(|target| target.is_gateway) {
            let name = &target.service.value;
            let Some(gateway) = gateways.get(name) else {
                dangling(resource, target, gateways.keys(), problems);
                continue;
            };
            // What a policy says is wrong for all of its gateways at once.
            if !std::mem::replace(&mut said, true) {
                check_settings(resource, policy, problems);
            }
            check_listeners(resource, policy, target, gateway, problems);
        }
    }
}

fn dangling<'a>(
    resource: &Resource,
    target: &Target,
    mut gateways: impl Iterator<Item = &'a ServiceName> + Clone,
    problems: &mut Problems,
) {
    let name = &target.service.value;
    let here = gateways.clone().filter(|other| other.namespace() == name.namespace());
    let near = nearest(name.name(), here.map(ServiceName::name));
    let near = near.or_else(|| gateways.find(|other| other.name() == name.name()).map(ToString::to_string));
    problems.add(|| {
        resource
            .problem(
                target.service.at,
                format!("{}.name", field(target)),
                format!("there is no Gateway {name}"),
            )
            .expected("a Gateway of this push or of the mesh")
            .nearest(near)
    });
}

/// What no gateway can do, and why.
fn check_settings(resource: &Resource, policy: &InboundPolicy, problems: &mut Problems) {
    let mut wrong = |field: &str, message: String, expected: &str| {
        let at = policy.written.get(field).copied().unwrap_or_default();
        problems.add(|| resource.problem(at, format!("spec.{field}"), message).expected(expected));
    };
    let settings = &policy.settings;
    if policy.written.contains_key("shed") {
        let message = "is not for a Gateway: what its requests cost depends on where they go";
        wrong(
            "shed",
            message.into(),
            "no shed; the sidecars of its backends shed what their applications cannot take",
        );
    }
    if settings.trusted.is_some() {
        let message = "is not for a Gateway, which believes what its flag --trusted-sources says";
        wrong("trustedSources", message.into(), "no trustedSources");
    }
    if settings.tls.is_some() {
        let message = "is not for a Gateway, whose listeners say how their TLS is ended";
        wrong("tls", message.into(), "no tls; spec.listeners[].tls of the Gateway");
    }
    let by_identity = |about: &Conditions| !about.identities.is_empty() || !about.namespaces.is_empty();
    let strangers = "rules by methods, paths and sources";
    let rules = settings.authorization.iter().flat_map(|authorization| &authorization.rules);
    for rule in rules.filter(|rule| by_identity(&rule.about)) {
        let message = format!(
            "the rule {:?} is about identities or namespaces, which strangers do not have",
            rule.name
        );
        wrong("authorization.rules", message, strangers);
    }
    for (index, rule) in settings.priorities.iter().flatten().enumerate() {
        if by_identity(&rule.about) {
            let message =
                format!("item {index} is about identities or namespaces, which strangers do not have");
            wrong("priorities", message, strangers);
        }
    }
    for limit in settings.rate_limits.iter().flatten() {
        if limit.key.contains(&RateKey::Identity) {
            let message =
                format!("the limit {:?} counts by identity, which strangers do not have", limit.name);
            wrong("rateLimits", message, "keys of header, source and pathElement");
        }
    }
}

/// There is such a listener, and those that carry no requests are asked for nothing else than who may connect.
fn check_listeners(
    resource: &Resource,
    policy: &InboundPolicy,
    target: &Target,
    gateway: &Gateway,
    problems: &mut Problems,
) {
    if !gateway.whole {
        return;
    }
    let name = &target.service.value;
    let section = target.section.as_ref();
    let means = |listener: &&Listener| section.is_none_or(|section| section.value == listener.name);
    let listeners: Vec<_> = gateway.listeners.iter().filter(means).collect();
    if let (Some(section), []) = (section, &*listeners) {
        let names: Vec<_> = gateway.listeners.iter().map(|listener| listener.name.as_str()).collect();
        problems.add(|| {
            let message = format!("{name} has no listener named \"{}\"", section.value);
            resource
                .problem(section.at, format!("{}.sectionName", field(target)), message)
                .expected(format!("one of {}", names.join(", ")))
                .nearest(nearest(&section.value, names.iter().copied()))
        });
        return;
    }
    let carries = |listener: &&Listener| listener.protocol.is_http();
    if !policy.settings.is_access_alone() && !listeners.iter().any(&carries) {
        problems.add(|| {
            let message = format!("no such listener of {name} carries HTTP");
            resource
                .problem(target.service.at, field(target), message)
                .expected("a listener of HTTP or HTTPS, or nothing but authorization")
        });
    }
    let rules = policy.settings.authorization.iter().flat_map(|authorization| &authorization.rules);
    let denies = |rule: &&AccessRule| rule.access == Access::Deny && rule.about.needs_request();
    if let (Some(rule), Some(listener)) =
        ({ rules }.find(denies), listeners.iter().find(|listener| !carries(listener)))
    {
        problems.add(|| {
            let message = format!(
                "the rule {:?} denies by method or path, which connections to listener {} of {name} do not have",
                rule.name, listener.name
            );
            let expected = "a sectionName for each listener that carries HTTP, or rules by sources";
            resource.problem(target.service.at, field(target), message).expected(expected)
        });
    }
}
