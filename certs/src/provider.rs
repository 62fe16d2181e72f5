//! The one provider of cryptography.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// AES-GCM and ChaCha20-Poly1305; X25519MLKEM768 before X25519 and the NIST curves.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_quantum_computers_cannot_break_is_preferred() {
        let first = provider().kx_groups[0].name();
        assert_eq!(first, rustls::NamedGroup::X25519MLKEM768);
    }
}
