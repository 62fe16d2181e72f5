//! Join tokens: what a sidecar that has no certificate yet proves itself with, once or for a while. Signed with the key of the mesh, so that
//! every replica of the control plane can check one without having seen it before. Written
//! `orj1.KEY-ID.PAYLOAD.SIGNATURE`, the last two in base64url (RFC 4648 §5) without padding.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::identity::TrustDomain;
use crate::keys::{KeyError, KeyId, SIGNATURE_BYTES, SigningKey, TrustedKeys};
use crate::name::ServiceName;
use crate::record::AttemptId;

/// Longest text of a token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4 << 10;
/// Roots that one may name: two while they are replaced, with room.
pub const TOKEN_ROOTS_MAX: usize = 8;
/// For how long one may be valid, in seconds: a week. What the store remembers of one can be forgotten after that.
pub const TOKEN_LIFETIME_MAX_S: u64 = 7 * 86_400;

const PREFIX: &str = "orj1";
/// What is signed begins with it, so that no record passes for a token.
const CONTEXT: &[u8] = b"outrigger/join-token/v1";

/// Which token: public, as it opens nothing.
pub type TokenId = AttemptId;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinToken {
    /// Which one.
    pub id: TokenId,
    /// Whose identity it is good for.
    pub service: ServiceName,
    /// The trust domain of that identity.
    pub domain: TrustDomain,
    /// Until when, in seconds since 1970.
    pub expires_unix: u64,
    /// Whether it is good for any number of sidecars, rather than for one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reusable: bool,
    /// SHA-256 of the certificates (DER) of the roots: by them whoever has the token knows the control plane.
    pub roots: Vec<Digest>,
}

/// Why a text is no token to believe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Cut short, altered, or something else altogether.
    #[error("this is no join token: expected the whole line that `outrigger certs token create` printed")]
    Unreadable,
    /// Nobody who is believed made it.
    #[error(
        "the join token is signed by key {0}, which this mesh does not trust: is it of another mesh, or from before the key was changed?"
    )]
    Untrusted(KeyId),
    /// It was altered.
    #[error("the signature of the join token is wrong: it was altered")]
    Forged,
    /// It can't be written.
    #[error("the join token can't be signed")]
    Sign(#[source] KeyError),
}

impl JoinToken {
    /// The token as it is handed over: a secret.
    pub fn sign(&self, key: &SigningKey) -> Result<String, TokenError> {
        let payload = serde_json::to_vec(self).map_err(|_| TokenError::Unreadable)?;
        let signature = key.sign(&message(&payload)).map_err(TokenError::Sign)?;
        Ok(written(key.public().id(), &payload, &signature))
    }

    /// What a token says that was signed by a trusted key; nothing of it is parsed before that is known. Whether its time is over is another
    /// question.
    pub fn verify(text: &str, trusted: &TrustedKeys) -> Result<Self, TokenError> {
        let (key, payload, signature) = parts(text)?;
        let key = trusted.key(key).ok_or(TokenError::Untrusted(key))?;
        if signature.len() != SIGNATURE_BYTES || !key.verify(&message(&payload), &signature) {
            return Err(TokenError::Forged);
        }
        parse(&payload)
    }

    /// What a token says, whoever signed it: for who was handed it and is to show it, not for who is shown it.
    pub fn inspect(text: &str) -> Result<Self, TokenError> {
        let (_, payload, _) = parts(text)?;
        parse(&payload)
    }
}

fn written(key: KeyId, payload: &[u8], signature: &[u8]) -> String {
    format!("{PREFIX}.{key}.{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(signature))
}

fn parts(text: &str) -> Result<(KeyId, Vec<u8>, Vec<u8>), TokenError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Unreadable);
    }
    let [PREFIX, key, payload, signature] = text.split('.').collect::<Vec<_>>()[..] else {
        return Err(TokenError::Unreadable);
    };
    let decode = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Unreadable);
    Ok((key.parse().map_err(|_| TokenError::Unreadable)?, decode(payload)?, decode(signature)?))
}

fn parse(payload: &[u8]) -> Result<JoinToken, TokenError> {
    let token: JoinToken = serde_json::from_slice(payload).map_err(|_| TokenError::Unreadable)?;
    let sound = (1..=TOKEN_ROOTS_MAX).contains(&token.roots.len());
    if sound { Ok(token) } else { Err(TokenError::Unreadable) }
}

fn message(payload: &[u8]) -> Vec<u8> {
    [CONTEXT, payload].concat()
}

/// A token as it is handed over. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    /// Of a text with nothing around it but white space.
    pub fn read(text: &str) -> Result<Self, TokenError> {
        JoinToken::inspect(text.trim())?;
        Ok(Self(text.trim().to_owned()))
    }

    /// For a request that shows it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenText(redacted)")
    }
}

#[cfg(test)]
mod tests;
