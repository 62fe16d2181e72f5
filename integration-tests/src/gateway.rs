//! Gateways: proxies that strangers call.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::mesh::program;
use crate::process::Process;
use crate::wait::eventually;
use crate::{Mesh, Metrics, binaries, client, port};

/// Until a gateway has a plan and its ports.
const READY_MAX: Duration = Duration::from_secs(20);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// `/ready`.
    pub admin: SocketAddr,
    /// `/metrics`.
    pub metrics: SocketAddr,
}

impl Gateway {
    /// Starts the gateway of that name on loopback, which shows what lies in [`certificates`], with further arguments.
    pub async fn start(mesh: &Mesh, name: &str, arguments: &[&str]) -> Self {
        let (admin, metrics) = (port::free(), port::free());
        let mut command = program(binaries::proxy());
        command.args(["--gateway", name, "--gateway-address", "127.0.0.1", "--poll", "100ms"]);
        command.args(["--drain-grace", "300ms"]).args(arguments);
        command.arg("--store").arg(mesh.store()).arg("--state-dir").arg(mesh.state(name));
        command.arg("--certificates").arg(certificates(mesh));
        command.args(["--admin", &admin.to_string(), "--metrics", &metrics.to_string()]);
        let mut process = Process::start(&format!("gateway {name}"), &mut command);
        process.listening("--metrics").await;
        Self { process, admin, metrics }
    }

    /// Waits until it has a plan, and every port of it is open.
    pub async fn ready(&self) {
        let what = format!("the gateway is ready; so far:\n{}", self.process.log());
        eventually(READY_MAX, &what, async || {
            let page = client::page(self.admin, "/ready").await.ok()?;
            (page.status == http::StatusCode::OK).then_some(())
        })
        .await;
    }

    /// Waits until a series whose line has all of `parts` has this value.
    pub async fn says(&self, parts: &[&str], value: u64) {
        let what = format!("{parts:?} is {value}; so far:\n{}", self.process.log());
        eventually(READY_MAX, &what, async || {
            Metrics::of(self.metrics).await?.say(parts, value).then_some(())
        })
        .await;
    }
}

/// The folder of the certificates that a gateway shows.
pub fn certificates(mesh: &Mesh) -> PathBuf {
    mesh.folder().join("certificates")
}

/// Where strangers reach a port of a gateway.
pub fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A `Gateway` named `edge` with these listeners, each as flow YAML.
pub fn gateway(listeners: &[String]) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  gatewayClassName: outrigger\n  \
         listeners:\n{}",
        listeners.iter().map(|listener| format!("  - {listener}\n")).collect::<String>()
    )
}

/// A listener of HTTP.
pub fn http(name: &str, port: u16) -> String {
    format!("{{name: {name}, port: {port}, protocol: HTTP}}")
}

/// A listener of HTTPS for a host, with one certificate and what else its `tls` has.
pub fn https(name: &str, port: u16, host: &str, certificate: &str, tls: &str) -> String {
    format!(
        "{{name: {name}, port: {port}, hostname: '{host}', protocol: HTTPS, tls: {{certificateRefs: [{{name: {certificate}}}]{tls}}}}}"
    )
}

/// A route of the gateway `edge` for some hosts to a service of the same name.
pub fn route(service: &str, hosts: &[&str]) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("'{host}'")).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {service}}}\nspec:\n  parentRefs: [{{name: edge}}]\n  \
         hostnames: [{}]\n  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]",
        hosts.join(", ")
    )
}

/// Puts a file in the place of what there was, at once.
pub fn replace(path: &Path, text: &[u8]) {
    let next = path.with_extension("next");
    std::fs::create_dir_all(path.parent().expect("files lie in folders")).expect("folders can be made");
    std::fs::write(&next, text).expect("the folder can be written");
    std::fs::rename(&next, path).expect("a file can be renamed");
}
