//! TLS with endpoints: mutual with other sidecars, and with servers outside the mesh.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use outrigger_certs::claim;
use outrigger_certs::mesh::{Mesh, Spoken};
use outrigger_certs::problem::Problem;
use outrigger_snapshot::identity::ServerName;
use outrigger_snapshot::name::ClusterName;
use rustls_pki_types::ServerName as TlsServerName;
use tokio::net::TcpStream;
use tokio_rustls::rustls::{AlertDescription, Error, InvalidMessage};

use crate::complaint::Complaint;
use crate::identity::Identity;
use crate::telemetry::metrics::Direction;
use crate::transport::Transport;
use crate::transport::tls::{TlsStream, call};
use crate::upstream_tls::UpstreamTls;

/// Why a handshake came to nothing, on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// The other side's certificate.
    #[error("{0}")]
    Certificate(Problem),
    /// The other side does not accept ours, or how we speak.
    #[error("the other side refused the handshake: {0:?}")]
    Refused(AlertDescription),
    /// The other side does not speak TLS.
    #[error(
        "the other side does not speak TLS: is there a sidecar with an identity? If not, set `mtls: Disabled` for its Service"
    )]
    Plaintext,
    /// This proxy was given an identity that it cannot prove now.
    #[error("this proxy has no valid certificate or no trust bundle now")]
    NoIdentity,
    /// There is nothing to show to whoever asks for such a host.
    #[error("there is no usable certificate for the host that is asked for")]
    NoCertificate,
    /// Anything else.
    #[error("the handshake failed: {0}")]
    Broken(io::ErrorKind),
    /// It took too long.
    #[error("the handshake took too long")]
    Late,
}

impl TlsFailure {
    /// All words in metrics, beside those of problems.
    pub const CODES: [&'static str; 6] =
        ["refused", "plaintext", "no_valid_identity", "no_certificate", "broken", "late"];

    /// What an error of a handshake says; also one that shows only later, since a caller's certificate is looked at last.
    pub fn of(error: &io::Error) -> Self {
        match of_library(error) {
            Some(Error::AlertReceived(alert)) => Self::Refused(*alert),
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::Plaintext,
            Some(other) => Problem::of(other).map_or_else(
                || {
                    tracing::debug!(%error, "a handshake failed");
                    Self::Broken(error.kind())
                },
                Self::Certificate,
            ),
            None => Self::Broken(error.kind()),
        }
    }

    /// The same, if `error` says that the other side did not accept our certificate: then it has looked at nothing that we sent.
    pub fn of_refusal(error: &io::Error) -> Option<Self> {
        use AlertDescription as Alert;
        match of_library(error) {
            Some(Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::CertificateRequired),
            )) => Some(Self::Refused(*alert)),
            _ => None,
        }
    }

    /// Has people told which peer it was; not of connections that just broke off.
    pub fn tell(&self, direction: Direction, address: IpAddr) {
        let claim = match self {
            Self::Certificate(problem) => claim::take(*problem),
            Self::Broken(_) => return,
            _ => None,
        };
        let identity = claim.as_ref().and_then(|claim| claim.identity.as_deref());
        let serial = claim.as_ref().map(|claim| &*claim.serial);
        let (reason, address) = (self.code(), Some(address));
        Complaint { direction, reason, address, identity, is_proved: false, serial }.tell(self);
    }

    /// Its word in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Certificate(problem) => problem.code(),
            Self::Refused(_) => "refused",
            Self::Plaintext => "plaintext",
            Self::NoIdentity => "no_valid_identity",
            Self::NoCertificate => "no_certificate",
            Self::Broken(_) => "broken",
            Self::Late => "late",
        }
    }
}

/// What the library says, inside of what a stream may say.
fn of_library(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Calls a server outside the mesh; whoever answers has proved to be the one that was meant.
pub(super) async fn secure_server(
    stream: TcpStream,
    upstream: &UpstreamTls,
    spoken: Spoken,
) -> Result<Transport, TlsFailure> {
    if upstream.lacks_certificate() {
        return Err(TlsFailure::NoIdentity);
    }
    let (name, tls) = upstream.parts().map_err(TlsFailure::Certificate)?;
    let shaken = call(stream, tls.client(spoken).clone(), name.clone()).await;
    let stream = shaken.map_err(|error| TlsFailure::of(&error))?;
    // Whoever names no protocol speaks what everybody speaks.
    if spoken == Spoken::Http2 && stream.alpn() != Some(spoken.alpn()) {
        return Err(TlsFailure::Refused(AlertDescription::NoApplicationProtocol));
    }
    accepted(stream, spoken).await
}

/// Calls a port of a service; whoever answers has proved to be that service's sidecar.
pub(super) async fn secure(
    stream: TcpStream,
    (identity, mesh): (&Identity, &Arc<Mesh>),
    cluster: &ClusterName,
    spoken: Spoken,
) -> Result<Transport, TlsFailure> {
    let called = ServerName { service: cluster.service.clone(), port: cluster.port };
    let name = TlsServerName::try_from(called.text(mesh.bundle().domain()));
    // A name that is too long for DNS is not one that a certificate of the mesh could be asked for.
    let name = name.map_err(|_| TlsFailure::Certificate(Problem::WrongName))?;
    let shaken = call(stream, mesh.client(spoken).clone(), name).await;
    let mut stream = shaken.map_err(|error| TlsFailure::of(&error))?;
    stream.admit(identity, mesh).map_err(TlsFailure::Certificate)?;
    if stream.alpn() != Some(spoken.alpn()) {
        return Err(TlsFailure::Refused(AlertDescription::NoApplicationProtocol));
    }
    accepted(stream, spoken).await
}

/// A connection whose handshake is over on our side.
async fn accepted(mut stream: Box<TlsStream<TcpStream>>, spoken: Spoken) -> Result<Transport, TlsFailure> {
    if spoken == Spoken::Http2 {
        // A server looks at our certificate after our side of the handshake is over; its preface (RFC 9113 §3.4) says that it accepts it.
        poll_fn(|context| stream.poll_filled(context)).await.map_err(|error| TlsFailure::of(&error))?;
    }
    Ok(stream.into())
}
