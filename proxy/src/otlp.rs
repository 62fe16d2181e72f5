//! What all that is told to a collector by OTLP has in common: how it is reached, whom it believes, and who tells.

use std::path::{Path, PathBuf};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use outrigger_snapshot::name::ServiceName;

use crate::config::Otlp;
use crate::report::system_file;

pub mod times;

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The settings.
    #[error("the collector cannot be used as it is set (--otlp, OTEL_EXPORTER_OTLP_*)")]
    Exporter(#[from] ExporterBuildError),
    /// A certificate or a key.
    #[error("can't read {} (OTEL_EXPORTER_OTLP_{variable})", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What names it.
        variable: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// HTTP, or what a certificate or a key says.
    #[error("HTTP cannot be set up (OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE, _CLIENT_KEY)")]
    Http(#[from] reqwest::Error),
    /// The system.
    #[error("the system refused a thread")]
    Thread(#[from] std::io::Error),
}

/// Who tells.
#[derive(Debug, Clone)]
pub struct Teller {
    /// The service beside which this proxy runs, or the gateway that it is.
    pub service: ServiceName,
    /// What it is called among its like.
    pub node: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Whether it is a gateway.
    pub gateway: bool,
}

impl Teller {
    /// The same as a collector sees it; what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say comes first.
    pub fn resource(&self, to: &Otlp) -> Resource {
        let Self { service, node, zone, .. } = self;
        let own = [
            KeyValue::new("service.name", service.name().to_owned()),
            KeyValue::new("service.namespace", service.namespace().to_owned()),
            KeyValue::new("service.instance.id", node.clone()),
            KeyValue::new("telemetry.sdk.name", "opentelemetry"),
            KeyValue::new("telemetry.sdk.language", "rust"),
        ];
        let zone = zone.clone().map(|zone| KeyValue::new("cloud.availability_zone", zone));
        let resource = Resource::builder_empty().with_attributes(own.into_iter().chain(zone));
        let resource = resource.with_detector(Box::new(EnvResourceDetector::new()));
        let name = to.service_name.clone().map(|name| KeyValue::new("service.name", name));
        resource.with_attributes(name).build()
    }
}

/// What part of the proxy tells.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("outrigger-proxy").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// An exporter that speaks gRPC, made to reach the collector.
pub fn grpc<E: WithExportConfig + WithTonicConfig>(exporter: E, to: &Otlp) -> Result<E, OtlpError> {
    let exporter = exporter.with_endpoint(to.endpoint.as_str()).with_timeout(to.timeout);
    if !is_secure(to) {
        return Ok(exporter);
    }
    let mut tls = ClientTlsConfig::new();
    // Those that may have signed its certificate are the ones of a file, or the system's.
    if let Some(path) = to.ca_file.clone().or_else(system_file) {
        tls = tls.ca_certificate(Certificate::from_pem(read(&path, "CERTIFICATE")?));
    }
    if let Some(client) = &to.client {
        let certificate = read(&client.certificate, "CLIENT_CERTIFICATE")?;
        tls = tls.identity(Identity::from_pem(certificate, read(&client.key, "CLIENT_KEY")?));
    }
    Ok(exporter.with_tls_config(tls))
}

/// An exporter that speaks HTTP, made to reach the collector.
pub fn http<E: WithExportConfig + WithHttpConfig>(exporter: E, to: &Otlp) -> Result<E, OtlpError> {
    // Where the collector is, the operator says; what an application is told of proxies is not for this one.
    let mut client = reqwest::Client::builder().no_proxy().timeout(to.timeout);
    if let Some(path) = to.ca_file.as_deref().filter(|_| is_secure(to)) {
        let roots = reqwest::Certificate::from_pem_bundle(&read(path, "CERTIFICATE")?)?;
        client = client.tls_certs_only(roots);
    }
    if let Some(files) = to.client.as_ref().filter(|_| is_secure(to)) {
        let mut both = read(&files.certificate, "CLIENT_CERTIFICATE")?;
        both.push(b'\n');
        both.extend(read(&files.key, "CLIENT_KEY")?);
        client = client.identity(reqwest::Identity::from_pem(&both)?);
    }
    let exporter = exporter.with_protocol(Protocol::HttpBinary).with_http_client(client.build()?);
    Ok(exporter.with_endpoint(to.endpoint.as_str()).with_timeout(to.timeout))
}

fn is_secure(to: &Otlp) -> bool {
    to.endpoint.starts_with("https:")
}

fn read(path: &Path, variable: &'static str) -> Result<Vec<u8>, OtlpError> {
    std::fs::read(path).map_err(|source| OtlpError::Unreadable { path: path.to_owned(), variable, source })
}
