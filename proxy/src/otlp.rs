//! What all that is told to a collector by OTLP has in common: how it is reached, whom it believes, and who tells.

use std::path::PathBuf;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use outrigger_snapshot::name::ServiceName;

use self::wire::Envelope;
use crate::config::Otlp;

pub mod collector;
pub mod times;
pub mod wire;

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// gRPC, or what a certificate or a key says.
    #[error(
        "gRPC cannot be set up (--otlp, OTEL_EXPORTER_OTLP_ENDPOINT, _CERTIFICATE, _CLIENT_CERTIFICATE, _CLIENT_KEY)"
    )]
    Grpc(#[from] tonic::transport::Error),
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
    /// What stands around all that a collector is told.
    pub fn envelope(&self, to: &Otlp) -> Envelope {
        let resource = self.resource(to);
        let attributes = resource.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Envelope::new(attributes, "outrigger-proxy", env!("CARGO_PKG_VERSION"))
    }

    /// What `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say comes first.
    fn resource(&self, to: &Otlp) -> Resource {
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
