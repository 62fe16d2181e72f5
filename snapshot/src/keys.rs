//! Keys of a mesh: ed25519 (RFC 8032). Who holds the signing key decides what every proxy runs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::{Digest, hex};
use crate::text_form::text_form;

/// Bytes of an ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of an ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Keys that a mesh trusts at once: two while it rotates, with room for hand-overs.
pub const TRUSTED_KEYS_MAX: usize = 16;

const KEY_ID_BYTES: usize = 8;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
const PEM_LINE_CHARS: usize = 64;

/// Why a text or a document is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `ed25519:` and 32 bytes of base64.
    #[error("a public key is written `ed25519:` followed by 32 bytes in base64")]
    Public,
    /// Not 16 lower-case hex digits.
    #[error("a key id is 16 lower-case hex digits")]
    Id,
    /// Not an ed25519 PKCS #8 document in PEM.
    #[error("not an ed25519 private key in PEM (`outrigger keys new` makes one)")]
    Private,
    /// The operating system gave no randomness, or the library refused to sign.
    #[error("no key can be made or used here: the cryptographic library failed")]
    Library,
    /// A trust set of no keys or too many.
    #[error("a mesh trusts 1 to {TRUSTED_KEYS_MAX} keys, not {0}")]
    Count(usize),
}

/// The first 16 hex digits of the SHA-256 of the public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

/// A public key. Written `ed25519:<base64>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; PUBLIC_KEY_BYTES]);

/// A key that signs records. It can't be cloned, printed or serialised; share it by reference.
pub struct SigningKey(Ed25519KeyPair);

/// The public keys that a reader believes. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKeys(BTreeMap<KeyId, PublicKey>);

impl PublicKey {
    /// The key's id.
    pub fn id(&self) -> KeyId {
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&Digest::of(&self.0).as_bytes()[..KEY_ID_BYTES]);
        KeyId(id)
    }

    /// Whether `signature` over `message` was made by this key (RFC 8032 §5.1.7).
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl SigningKey {
    /// A new random key.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| KeyError::Library)
    }

    /// Reads the PEM that [`to_pem`](Self::to_pem) or `openssl genpkey -algorithm ed25519` wrote.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let body: String = text
            .trim()
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END))
            .map_or_else(String::new, |body| body.split_ascii_whitespace().collect());
        let document = STANDARD.decode(body).map_err(|_| KeyError::Private)?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document).map(Self).map_err(|_| KeyError::Private)
    }

    /// The private key as PKCS #8 (RFC 8410) in PEM, as `openssl pkey` reads it. Keep it out of logs and stores.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let document = self.0.to_pkcs8v1().map_err(|_| KeyError::Library)?;
        let body = STANDARD.encode(document.as_ref());
        let mut text = format!("{PEM_BEGIN}\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(PEM_LINE_CHARS));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str(PEM_END);
        text.push('\n');
        Ok(text)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; PUBLIC_KEY_BYTES];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// A signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], KeyError> {
        let signature = self.0.try_sign(message).map_err(|_| KeyError::Library)?;
        signature.as_ref().try_into().map_err(|_| KeyError::Library)
    }
}

impl TrustedKeys {
    /// A set of 1 to [`TRUSTED_KEYS_MAX`] keys.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, KeyError> {
        let keys: BTreeMap<_, _> =
            keys.into_iter().take(TRUSTED_KEYS_MAX + 1).map(|key| (key.id(), key)).collect();
        if keys.is_empty() || keys.len() > TRUSTED_KEYS_MAX {
            return Err(KeyError::Count(keys.len()));
        }
        Ok(Self(keys))
    }

    /// The key of that id, if it is trusted.
    pub fn key(&self, id: KeyId) -> Option<&PublicKey> {
        self.0.get(&id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.values()
    }
}

impl From<PublicKey> for TrustedKeys {
    fn from(key: PublicKey) -> Self {
        Self(BTreeMap::from([(key.id(), key)]))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        hex(text).map(Self).ok_or(KeyError::Id)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ed25519:{}", STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let encoded = text.trim().strip_prefix("ed25519:").ok_or(KeyError::Public)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Public)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Public)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SigningKey").field(&self.public().id()).finish()
    }
}

impl fmt::Debug for TrustedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for TrustedKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.values())
    }
}

impl<'de> Deserialize<'de> for TrustedKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<PublicKey>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

text_form!(KeyId);
text_form!(PublicKey);

#[cfg(test)]
mod tests;
