//! A mesh whose control plane makes certificates, and a stranger that asks it for some.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair, SanType, SerialNumber};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::mesh::{ControlPlane, Mesh, Sidecar, said};
use crate::pki::{self, DOMAIN};

/// The folder of the authority, below that of the mesh.
pub const FOLDER: &str = "ca";

/// Makes an authority in `folder` of the mesh, and says what is to be pushed to have it believed.
pub fn init(mesh: &Mesh, folder: &str, mtls: &str) -> String {
    let out = mesh.outrigger(["certs", "init", "--trust-domain", DOMAIN, folder]);
    assert!(out.status.success(), "certs init: {}", said(&out));
    let made = std::fs::read_to_string(mesh.folder().join(folder).join("mesh.yaml"));
    made.expect("it was made").replace("mtls: Disabled", &format!("mtls: {mtls}"))
}

/// A control plane with the authority in [`FOLDER`], and where it is asked for certificates.
pub async fn control_plane(mesh: &Mesh, name: &str, arguments: &[&str]) -> (ControlPlane, SocketAddr) {
    let mut all = vec!["--ca"];
    let folder = mesh.folder().join(FOLDER).display().to_string();
    all.push(&folder);
    all.extend(arguments);
    if !arguments.contains(&"--enrol") {
        all.extend(["--enrol", "127.0.0.1:0"]);
    }
    let mut control_plane = ControlPlane::start(mesh, name, &all).await;
    let address = control_plane.process.listening("--enrol").await;
    (control_plane, address)
}

/// Makes a join token for a service of the default namespace: its id, and itself.
pub fn token(mesh: &Mesh, control_plane: &ControlPlane, service: &str, more: &[&str]) -> (String, String) {
    let server = format!("http://{}", control_plane.api);
    let verb = ["certs", "token", "create", "--server", &server, "--service", service];
    let out = mesh.outrigger([&verb[..], more].concat());
    assert!(out.status.success(), "certs token create: {}", said(&out));
    let id = String::from_utf8_lossy(&out.stderr).split(' ').next().unwrap_or_default().to_owned();
    (id, String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// What takes back, as a part of the Mesh, certificates that the authority in [`FOLDER`] has made: serial numbers in hexadecimal.
pub fn revocations(mesh: &Mesh, serials: &[&str]) -> String {
    let read =
        |name: &str| std::fs::read_to_string(mesh.folder().join(FOLDER).join(name)).expect("it was made");
    let key = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), key).expect("an authority");
    let numbers = serials.iter().map(|serial| {
        let bytes = serial.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"));
        SerialNumber::from(bytes.collect::<Vec<u8>>())
    });
    // An intermediate is known by its certificate beside the list.
    let beside = read("ca.crt").lines().map(|line| format!("    {}\n", line.trim_end())).collect::<String>();
    pki::revoked(&issuer, numbers) + &beside
}

/// Puts a token where a sidecar finds it.
pub fn keep(mesh: &Mesh, name: &str, token: &str) -> PathBuf {
    let path = mesh.folder().join(format!("{name}.token"));
    std::fs::write(&path, format!("{token}\n")).expect("the mesh's folder can be written");
    path
}

impl Sidecar {
    /// It gets its certificate at this control plane, by the join token in this file.
    pub fn enrolling(self, at: SocketAddr, token: &std::path::Path) -> Self {
        let url = format!("https://{at}");
        self.with(&["--ca", &url, "--join-token-file", &token.display().to_string()])
    }
}

/// A key, and requests for certificates of it.
#[derive(Debug)]
pub struct Requester(KeyPair);

impl Requester {
    /// With a new key.
    #[expect(clippy::new_without_default, reason = "it makes a key; nobody should get one by default")]
    pub fn new() -> Self {
        Self(KeyPair::generate().expect("keys can be made"))
    }

    /// A request for the identity of a service of the default namespace.
    pub fn request(&self, service: &str) -> String {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://{DOMAIN}/ns/default/svc/{service}");
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("the id is ASCII"))];
        params.serialize_request(&self.0).and_then(|request| request.pem()).expect("a request can be made")
    }

    /// Its key, in PEM.
    pub fn key(&self) -> String {
        self.0.serialize_pem()
    }
}

/// What a control plane answers.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: serde_json::Value,
}

impl Answer {
    /// Status and word of a refusal.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }
}

/// Asks for a certificate as anybody could, whoever answers. `shown`: a chain and its key, in PEM.
pub async fn ask(at: SocketAddr, token: Option<&str>, shown: Option<(&str, &str)>, request: &str) -> Answer {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the library has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain.expect("a chain"), key).expect("a pair")
        }
    };
    let stream = TcpStream::connect(at).await.expect("the control plane listens");
    let name = ServerName::from(at.ip());
    let mut stream =
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("it speaks TLS 1.3");
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = request.len();
    let head = format!(
        "POST /v1/certificates HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{authorization}content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it takes a request");
    stream.write_all(request.as_bytes()).await.expect("it takes a request");
    let mut answer = Vec::new();
    // Whoever closes without a farewell has answered before.
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = serde_json::from_str(body).unwrap_or(serde_json::Value::String(body.to_owned()));
    Answer { status, body }
}

/// Believes whoever answers.
#[derive(Debug)]
pub struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
