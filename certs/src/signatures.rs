//! Signatures of handshakes.

/// The part of `ServerCertVerifier` and `ClientCertVerifier` that is not about whom to believe: that the other side has the key of the
/// certificate that it shows. The same for every verifier, so that none can be lax about it.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            leaf: &rustls_pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &$crate::provider::provider().signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, leaf, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &rustls_pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &$crate::provider::provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, leaf, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            $crate::provider::provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

pub(crate) use signatures;
