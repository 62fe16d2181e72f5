//! The envelope of a record: `{"payload": "<JSON text>", "signatures": [{"key_id", "signature"}]}`. The payload is a string,
//! so what is signed is exactly what is stored: `jq -r .payload` prints it.

use serde::{Deserialize, Serialize};

use crate::canonical::{self, DecodeError, EncodeError};
use crate::keys::{KeyError, KeyId, SIGNATURE_BYTES, SigningKey, TrustedKeys};
use crate::record::{Kind, RECORD_SCHEMA, Record};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Signatures on one record: two keys while they rotate, with room for hand-overs.
pub const SIGNATURES_MAX: usize = 8;

/// Why a record can't be signed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It breaks a rule of its kind.
    #[error("the {kind} would be refused by every reader: {rule}")]
    Invalid {
        /// What it is.
        kind: Kind,
        /// The rule.
        rule: &'static str,
    },
    /// It is larger than readers accept.
    #[error(
        "the {kind} is {bytes} bytes, and readers accept at most {max}; split the configuration into several meshes"
    )]
    TooLarge {
        /// What it is.
        kind: Kind,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// No key, or more than [`SIGNATURES_MAX`].
    #[error("a record is signed by 1 to {SIGNATURES_MAX} keys, not {0}")]
    Keys(usize),
    /// The library refused to sign.
    #[error("the record can't be signed")]
    Sign(#[source] KeyError),
    /// It can't be written as JSON.
    #[error("the record can't be written as JSON")]
    Json(#[source] serde_json::Error),
    /// It can't be compressed.
    #[error("the record can't be compressed")]
    Compress(#[source] EncodeError),
}

/// Why stored bytes are not a record to believe.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Larger than any honest record.
    #[error("the {kind} is {bytes} bytes, at most {max} are accepted")]
    TooLarge {
        /// What it should be.
        kind: Kind,
        /// What was found, as far as it was read.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Not a whole compressed record.
    #[error("the {kind} can't be decompressed")]
    Decompress {
        /// What it should be.
        kind: Kind,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// Not an envelope: truncated, altered, or something else altogether.
    #[error("the {kind} is not a signed record")]
    Envelope {
        /// What it should be.
        kind: Kind,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No trusted key signed it, or what was signed is not what is there.
    #[error(
        "the {kind} carries no valid signature of a trusted key (it names {named:?}); add the key with --trust-key if it is yours"
    )]
    Untrusted {
        /// What it should be.
        kind: Kind,
        /// The keys that it names.
        named: Vec<KeyId>,
    },
    /// Written by a newer version.
    #[error("the {kind} has schema {found}, this version reads schema {RECORD_SCHEMA}; upgrade it")]
    FutureSchema {
        /// What it is.
        kind: Kind,
        /// Its schema.
        found: u32,
    },
    /// Signed, but not such a record.
    #[error("the {kind} is signed but can't be read")]
    Payload {
        /// What it should be.
        kind: Kind,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Signed, but breaks a rule of its kind.
    #[error("the {kind} is signed but invalid: {rule}")]
    Invalid {
        /// What it is.
        kind: Kind,
        /// The rule.
        rule: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    key_id: KeyId,
    signature: String,
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: u32,
}

/// `record`, signed by each of `keys`, as it is stored.
pub fn seal<R: Record>(record: &R, keys: &[&SigningKey]) -> Result<Vec<u8>, SealError> {
    let kind = R::KIND;
    record.check().map_err(|rule| SealError::Invalid { kind, rule })?;
    if keys.is_empty() || keys.len() > SIGNATURES_MAX {
        return Err(SealError::Keys(keys.len()));
    }
    let payload = serde_json::to_string(record).map_err(SealError::Json)?;
    let message = message(kind, &payload);
    let sign = |key: &&SigningKey| {
        let signature = key.sign(&message).map_err(SealError::Sign)?;
        Ok(Signature { key_id: key.public().id(), signature: STANDARD.encode(signature) })
    };
    let signatures = keys.iter().map(sign).collect::<Result<_, SealError>>()?;
    let bytes = serde_json::to_vec(&Envelope { payload, signatures }).map_err(SealError::Json)?;
    let fits = |bytes: usize, max: usize| {
        if bytes <= max { Ok(()) } else { Err(SealError::TooLarge { kind, bytes, max }) }
    };
    fits(bytes.len(), kind.bytes_max())?;
    if !kind.compressed() {
        return Ok(bytes);
    }
    let stored = canonical::compress(&bytes).map_err(SealError::Compress)?;
    fits(stored.len(), kind.stored_bytes_max())?;
    Ok(stored)
}

/// The record in `stored`, if a trusted key signed it. Nothing of the payload is parsed before that is known.
pub fn open<R: Record>(stored: &[u8], trusted: &TrustedKeys) -> Result<R, OpenError> {
    let envelope = envelope(stored, R::KIND)?;
    let message = message(R::KIND, &envelope.payload);
    let valid = |signature: &Signature| {
        let Some(key) = trusted.key(signature.key_id) else {
            return false;
        };
        let mut bytes = [0; SIGNATURE_BYTES];
        let decoded = STANDARD.decode_slice(&signature.signature, &mut bytes);
        decoded == Ok(SIGNATURE_BYTES) && key.verify(&message, &bytes)
    };
    if !envelope.signatures.iter().take(SIGNATURES_MAX).any(valid) {
        let named =
            envelope.signatures.iter().take(SIGNATURES_MAX).map(|signature| signature.key_id).collect();
        return Err(OpenError::Untrusted { kind: R::KIND, named });
    }
    parse(&envelope.payload)
}

/// The record in `stored` and the keys it names, whoever signed it: for looking, never for running.
pub fn inspect<R: Record>(stored: &[u8]) -> Result<(R, Vec<KeyId>), OpenError> {
    let envelope = envelope(stored, R::KIND)?;
    let named = envelope.signatures.iter().map(|signature| signature.key_id).collect();
    Ok((parse(&envelope.payload)?, named))
}

fn envelope(stored: &[u8], kind: Kind) -> Result<Envelope, OpenError> {
    if stored.len() > kind.stored_bytes_max() {
        return Err(OpenError::TooLarge { kind, bytes: stored.len(), max: kind.stored_bytes_max() });
    }
    let read =
        |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|source| OpenError::Envelope { kind, source });
    if !kind.compressed() {
        return read(stored);
    }
    let bytes = canonical::decompress(stored, kind.bytes_max())
        .map_err(|source| OpenError::Decompress { kind, source })?;
    read(&bytes)
}

fn parse<R: Record>(payload: &str) -> Result<R, OpenError> {
    let kind = R::KIND;
    let SchemaOnly { schema } =
        serde_json::from_str(payload).map_err(|source| OpenError::Payload { kind, source })?;
    if schema > RECORD_SCHEMA {
        return Err(OpenError::FutureSchema { kind, found: schema });
    }
    let record: R = serde_json::from_str(payload).map_err(|source| OpenError::Payload { kind, source })?;
    record.check().map_err(|rule| OpenError::Invalid { kind, rule })?;
    Ok(record)
}

/// What is signed: `outrigger/<kind>/v1` and the payload.
fn message(kind: Kind, payload: &str) -> Vec<u8> {
    [b"outrigger/", kind.name().as_bytes(), b"/v1", payload.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
