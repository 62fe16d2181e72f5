//! The one provider of cryptography.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite};

/// AES-GCM and ChaCha20-Poly1305; X25519MLKEM768 before X25519 and the NIST curves. AES-128 before AES-256, whose SHA-384 makes a fifth
/// of a handshake's cost: docs/decisions/0011-aes-128-before-aes-256.md.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(place);
        Arc::new(provider)
    });
    PROVIDER.clone()
}

/// Where a suite stands among those of its version, which keep their order.
fn place(suite: &SupportedCipherSuite) -> u8 {
    let suite = suite.suite();
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        _ if is_chacha20(suite) => 2,
        _ => 1,
    }
}

/// Whether a suite encrypts by ChaCha20-Poly1305 (RFC 7905, RFC 8446 §B.4).
pub(crate) fn is_chacha20(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_quantum_computers_cannot_break_is_preferred() {
        let first = provider().kx_groups[0].name();
        assert_eq!(first, rustls::NamedGroup::X25519MLKEM768);
    }

    #[test]
    fn all_suites_are_there_and_aes_128_comes_first_in_each_version() {
        let suites = &provider().cipher_suites;
        assert_eq!(suites.len(), aws_lc_rs::ALL_CIPHER_SUITES.len());
        let places = |wanted| {
            let of_version = suites.iter().filter(move |suite| (suite.tls13().is_some()) == wanted);
            of_version.map(place).collect::<Vec<_>>()
        };
        assert_eq!(places(true), [0, 1, 2]);
        assert_eq!(places(false), [0, 0, 1, 1, 2, 2]);
    }
}
