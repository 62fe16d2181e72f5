//! From flags to [`Config`]: what is missing, what does not go together, and the defaults that depend on the machine.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::validate::TRUSTED_MAX;

use super::access_log::access_log;
use super::flags::{FOLDER_POLL, Flags, MetricsBy, OBJECT_STORE_POLL};
use super::forward::{FORWARDS_MAX, InboundPort};
use super::identity::identity;
use super::place::Place;
use super::target::{self, Collector, ReportTarget, ReportUrl};
use super::traces::traces;
use super::transparent::transparent;
use super::{Config, ConfigError, Downstream, Drain, Inbound, RateLimitStore, StateFolder};
use crate::telemetry::detail::Detail;

/// Longest node id and zone, in bytes.
const NODE_BYTES_MAX: usize = 128;
const OUTBOUND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15001);
const INBOUND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15006);
/// The same where connections are intercepted, which come by any address.
const INBOUND_ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15006);
const DNS_PORT: u16 = 53;

type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// The configuration that `flags` ask for.
pub(super) fn config(flags: Flags, environment: &Environment<'_>) -> Result<Config, ConfigError> {
    let store = flags.store.clone().filter(|store| !store.is_empty());
    let store = absolute(
        store.ok_or_else(|| missing("store", "the folder or bucket that snapshots are read from"))?,
    )?;
    let gateway = gateway(&flags)?;
    let service = flags
        .service
        .clone()
        .or_else(|| flags.gateway.clone())
        .ok_or_else(|| missing("service", "the Service that this sidecar stands beside, or --gateway"))?;
    let node = flags.node.clone().unwrap_or_else(|| machine(environment));
    let is_folder = target::is_folder(&store);
    if flags.trust_key.is_empty() && !is_folder {
        return Err(ConfigError::Combination(format!(
            "--trust-key is missing: releases from {store} are run only if a key signed them that you name (`outrigger status` \
             prints it)"
        )));
    }
    let state = match &flags.state_dir {
        Some(path) => StateFolder { path: path.clone(), persistent: true },
        None => default_state(&store, &service, &node, environment),
    };
    check_memory(&flags, &state)?;
    let inbound = inbound(&flags)?;
    let outbound = gateway.is_none().then(|| flags.outbound.clone().unwrap_or(OUTBOUND.into()));
    check_admin(&flags)?;
    check_listeners(&flags, outbound.as_ref(), inbound.as_ref())?;
    let transparent = transparent(&flags, outbound.as_ref(), inbound.as_ref())?;
    Ok(Config {
        downstream: Downstream {
            idle: flags.downstream_idle,
            head: flags.downstream_head,
            age: flags.downstream_age,
            detect: flags.detect_wait,
        },
        drain: drain(&flags)?,
        identity: identity(&flags)?,
        report: report(&flags)?,
        rate_limit_store: rate_limit_store(&flags)?,
        traces: traces(&flags, environment)?,
        access_log: access_log(&flags, environment)?,
        poll: flags.poll.unwrap_or(if is_folder { FOLDER_POLL } else { OBJECT_STORE_POLL }),
        store,
        service,
        node,
        zone: flags.zone,
        outbound,
        gateway,
        trusted: flags.trusted_sources,
        certificates: flags.certificates,
        forwards: flags.forward,
        inbound,
        transparent,
        inbound_ports: flags.inbound_port,
        proxy_protocol_from: flags.proxy_protocol_from,
        admin: flags.admin,
        metrics: flags.metrics,
        state,
        workers: flags.workers,
        memory_max_bytes: flags.memory_max.map(|mebibytes| mebibytes << 20),
        trust_keys: flags.trust_key,
        detail: Detail {
            endpoints: flags.metrics_by.contains(&MetricsBy::Endpoint),
            callers: flags.metrics_by.contains(&MetricsBy::Caller),
        },
        dns_servers: flags.dns_server,
        log: flags.log,
    })
}

/// Parses `--node`: it becomes part of file names.
pub(super) fn node(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text.len() <= NODE_BYTES_MAX
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected 1 to {NODE_BYTES_MAX} of a-z, A-Z, 0-9, '-', '_' and '.', not starting with '.'"
        ))
    }
}

/// Parses one of `--proxy-protocol-from` and `--trusted-sources`.
pub(super) fn network(text: &str) -> Result<String, String> {
    let expected = || "expected an address or a network, like 10.1.0.7, 10.1.0.0/16 or fd00::/8".to_owned();
    outrigger_snapshot::validate::network(text).map(|_| text.to_owned()).ok_or_else(expected)
}

/// Parses `--zone`.
pub(super) fn zone(text: &str) -> Result<String, String> {
    let valid =
        !text.is_empty() && text.len() <= NODE_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("expected 1 to {NODE_BYTES_MAX} visible characters"))
    }
}

/// Parses `--dns-server`: an address, with or without a port.
pub(super) fn dns_server(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, DNS_PORT));
    }
    text.parse().map_err(|_| {
        "expected an IP address, with or without a port, such as 10.0.0.2 or 127.0.0.1:5353".to_owned()
    })
}

/// The address of a gateway; `None`: this is a sidecar. One is not the other.
fn gateway(flags: &Flags) -> Result<Option<IpAddr>, ConfigError> {
    let others = [
        ("--service", flags.service.is_some()),
        ("--outbound", flags.outbound.is_some()),
        ("--inbound", flags.inbound.is_some()),
        ("--app", flags.app.is_some()),
        ("--forward", !flags.forward.is_empty()),
        ("--inbound-port", !flags.inbound_port.is_empty()),
        ("--transparent", flags.transparent),
    ];
    let own = [
        ("--gateway-address", flags.gateway_address.is_some()),
        ("--trusted-sources", !flags.trusted_sources.is_empty()),
    ];
    let named =
        |flags: &[(&'static str, bool)]| flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag);
    match (&flags.gateway, named(&others), named(&own)) {
        (Some(gateway), Some(flag), _) => Err(ConfigError::Combination(format!(
            "{flag} is of a sidecar, and --gateway {gateway} has no application: give one or the other"
        ))),
        (None, _, Some(flag)) => {
            Err(ConfigError::Combination(format!("{flag} goes with --gateway: a sidecar has no strangers")))
        }
        (Some(_), None, _) => Ok(Some(flags.gateway_address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()))),
        (None, _, None) => Ok(None),
    }
}

fn missing(flag: &str, what: &str) -> ConfigError {
    let variable = flag.to_uppercase();
    ConfigError::Combination(format!(
        "--{flag} is missing: give {what}, as --{flag} or OUTRIGGER_{variable} (see --help)"
    ))
}

/// A folder by its absolute path, so that state and messages don't depend on where the process was started.
fn absolute(store: String) -> Result<String, ConfigError> {
    let Some(path) = target::folder(&store) else {
        return Ok(store);
    };
    let unusable =
        || ConfigError::Combination(format!("--store {store:?} is no path of a folder that can be used"));
    let path = std::path::absolute(path).map_err(|_| unusable())?;
    path.into_os_string().into_string().map_err(|_| unusable())
}

fn inbound(flags: &Flags) -> Result<Option<Inbound>, ConfigError> {
    if let (Some(listener), None) = (flags.inbound_port.first(), &flags.app) {
        let InboundPort { listen, port } = listener;
        return Err(ConfigError::Combination(format!(
            "--inbound-port {listen}={port} takes calls to the application, but --app does not say where it is: give --app HOST"
        )));
    }
    match (flags.inbound, flags.app.clone()) {
        (listen, Some(app)) => {
            let usual = if flags.transparent { INBOUND_ANY } else { INBOUND };
            Ok(Some(Inbound { listen: listen.unwrap_or(usual), app }))
        }
        (None, None) => Ok(None),
        (Some(listen), None) => Err(ConfigError::Combination(format!(
            "--inbound {listen} takes calls to the application, but --app does not say where it is: give --app HOST[:PORT], or leave \
             --inbound out"
        ))),
    }
}

fn check_admin(flags: &Flags) -> Result<(), ConfigError> {
    let admin = flags.admin;
    if admin.ip().is_loopback() || flags.expose_admin {
        return Ok(());
    }
    Err(ConfigError::Combination(format!(
        "refusing to serve the admin endpoints on {admin} (--admin): whoever reaches them can read all config and stop this proxy; \
         listen on 127.0.0.1, or say --expose-admin if that is meant. Metrics and readiness have a listener of their own (--metrics)"
    )))
}

fn check_listeners(
    flags: &Flags,
    outbound: Option<&Place>,
    inbound: Option<&Inbound>,
) -> Result<(), ConfigError> {
    for (flag, count, most) in [
        ("--forward", flags.forward.len(), FORWARDS_MAX),
        ("--inbound-port", flags.inbound_port.len(), FORWARDS_MAX),
        ("--proxy-protocol-from", flags.proxy_protocol_from.len(), TRUSTED_MAX),
        ("--trusted-sources", flags.trusted_sources.len(), TRUSTED_MAX),
    ] {
        if count > most {
            let what = format!("{flag} is given {count} times, at most {most} are allowed");
            return Err(ConfigError::Combination(what));
        }
    }
    let outbound = outbound.map(|outbound| ("--outbound", outbound.clone()));
    let inbound = inbound.map(|inbound| ("--inbound", inbound.listen.into()));
    let own = [("--admin", flags.admin.into()), ("--metrics", flags.metrics.into())];
    let forwards = flags.forward.iter().map(|forward| ("--forward", forward.listen.clone()));
    let ports = flags.inbound_port.iter().map(|port| ("--inbound-port", port.listen.into()));
    let mut seen: Vec<(&str, Place)> = Vec::new();
    for (flag, place) in outbound.into_iter().chain(inbound).chain(own).chain(forwards).chain(ports) {
        if let Some((other, _)) = seen.iter().find(|(_, other)| *other == place && place.is_one()) {
            let free = place.address().map_or("", |_| " (port 0 picks a free one)");
            return Err(ConfigError::Combination(format!(
                "{other} and {flag} are both {place}: give each its own{free}"
            )));
        }
        seen.push((flag, place));
    }
    check_proxies(flags)
}

fn check_proxies(flags: &Flags) -> Result<(), ConfigError> {
    if flags.proxy_protocol_from.is_empty() || flags.app.is_some() || flags.gateway.is_some() {
        return Ok(());
    }
    Err(ConfigError::Combination(
        "--proxy-protocol-from goes with --app or --gateway: without, nobody connects but the application itself"
            .to_owned(),
    ))
}

/// What is believed at first sight must be remembered.
fn check_memory(flags: &Flags, state: &StateFolder) -> Result<(), ConfigError> {
    if state.persistent || !flags.trust_key.is_empty() {
        return Ok(());
    }
    Err(ConfigError::Combination(
            "neither --trust-key nor a lasting place for state is given: the key of a folder can be believed at first sight only \
             if it is remembered; give --trust-key KEY or --state-dir DIR"
                .to_owned(),
        ))
}

fn drain(flags: &Flags) -> Result<Drain, ConfigError> {
    let (grace, deadline) = (flags.drain_grace, flags.drain_deadline);
    if grace <= deadline {
        return Ok(Drain { grace, deadline });
    }
    Err(ConfigError::Combination(format!(
        "--drain-deadline ({deadline:?}) counts from the beginning of the drain and can't be before the end of --drain-grace \
         ({grace:?}): make it longer"
    )))
}

fn report(flags: &Flags) -> Result<Option<ReportTarget>, ConfigError> {
    let (token_file, ca_file) = (flags.report_token_file.clone(), flags.report_ca_file.clone());
    let target = match flags.report.clone() {
        None => None,
        Some(ReportUrl::Folder(path)) => Some(ReportTarget::Folder(path)),
        Some(ReportUrl::ControlPlane { tls, host, port, prefix }) => {
            if token_file.is_some() && !tls && !is_local(&host) {
                return Err(ConfigError::Combination(format!(
                    "refusing to send a bearer token (--report-token-file) in the clear to {host}: use https in --report"
                )));
            }
            let collector = Collector { tls, host, port, prefix, token_file, ca_file };
            return Ok(Some(ReportTarget::ControlPlane(collector)));
        }
    };
    if token_file.is_some() || ca_file.is_some() {
        return Err(ConfigError::Combination(
            "--report-token-file and --report-ca-file go with a --report that is the URL of a control plane"
                .to_owned(),
        ));
    }
    Ok(target)
}

/// What is wrong may be the password: nothing of it is said.
fn rate_limit_store(flags: &Flags) -> Result<Option<RateLimitStore>, ConfigError> {
    let Some(url) = flags.rate_limit_store.as_ref().filter(|url| !url.is_empty()) else { return Ok(None) };
    let wrong = || {
        ConfigError::Combination(
            "--rate-limit-store is no URL of a store: expected redis[s]://[USER:PASSWORD@]HOST[:PORT][/DATABASE], where what is \
             special in a URL is percent-encoded (it is not repeated here, as it may hold a password)"
                .to_owned(),
        )
    };
    url.read().map(Some).ok_or_else(wrong)
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The name of this machine, or what Kubernetes calls this pod.
fn machine(environment: &Environment<'_>) -> String {
    let from = |text: String| -> Option<String> {
        let known: String = text
            .chars()
            .filter(|character| character.is_ascii_alphanumeric() || "-_.".contains(*character))
            .take(NODE_BYTES_MAX)
            .collect();
        node(known.trim_start_matches('.')).ok()
    };
    let pod = environment("POD_NAME").and_then(|name| name.into_string().ok());
    let system = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    pod.and_then(from).or_else(|| from(system())).unwrap_or_else(|| "localhost".to_owned())
}

fn default_state(
    store: &str,
    service: &ServiceName,
    node: &str,
    environment: &Environment<'_>,
) -> StateFolder {
    let folder = |name: &str| {
        let path = PathBuf::from(environment(name)?);
        path.is_absolute().then_some(path)
    };
    // systemd gives several folders as a list; the first is as good as any.
    let systemd = environment("STATE_DIRECTORY")
        .and_then(|list| std::env::split_paths(&list).find(|path| path.is_absolute()));
    let home = || folder("HOME").filter(|home| home != Path::new("/")).map(|home| home.join(".local/state"));
    let lasting =
        systemd.or_else(|| folder("XDG_STATE_HOME").or_else(home).map(|state| state.join("outrigger")));
    let persistent = lasting.is_some();
    let user = rustix::process::getuid().as_raw();
    let base = lasting.unwrap_or_else(|| std::env::temp_dir().join(format!("outrigger-{user}")));
    let own = &Digest::of(store.as_bytes()).to_string()[..8];
    let name = format!("{}.{}.{node}-{own}", service.namespace(), service.name());
    StateFolder { path: base.join("proxy").join(name), persistent }
}
