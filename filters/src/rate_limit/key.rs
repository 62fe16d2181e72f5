//! What of a request names its bucket.

use std::hash::{BuildHasher, Hash, Hasher};

use http::header::HeaderName;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::RateKey;

use crate::chain::FilterError;
use crate::context::Context;

/// The parts of a limit's key. None: one bucket for all.
#[derive(Debug)]
pub(super) struct Key(Box<[KeyPart]>);

#[derive(Debug)]
enum KeyPart {
    Header(HeaderName),
    Source,
    Identity,
    PathElement(usize),
}

impl Key {
    pub(super) fn build(parts: &[RateKey]) -> Result<Self, FilterError> {
        let part = |part: &RateKey| {
            Ok(match part {
                RateKey::Header(name) => KeyPart::Header(
                    HeaderName::from_bytes(name.as_bytes())
                        .map_err(|_| FilterError::HeaderName(name.clone()))?,
                ),
                RateKey::Source => KeyPart::Source,
                RateKey::Identity => KeyPart::Identity,
                RateKey::PathElement(index) => KeyPart::PathElement(*index as usize),
            })
        };
        Ok(Self(parts.iter().map(part).collect::<Result<_, _>>()?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Salted, so that nobody can make keys that meet.
    pub(super) fn hash(&self, hasher: &impl BuildHasher, head: &RequestHead, context: &Context) -> u64 {
        let mut hasher = hasher.build_hasher();
        self.values(head, context).for_each(|value| value.hash(&mut hasher));
        hasher.finish()
    }

    /// Half a SHA-256 of the values and their lengths: the same on every proxy, and nobody can make values that meet.
    pub(super) fn digest(&self, head: &RequestHead, context: &Context) -> u128 {
        let mut bytes = Vec::new();
        for value in self.values(head, context) {
            // A part that is missing is none that is empty.
            let length = value.map_or(0, |value| value.len() as u64 + 1);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(value.unwrap_or_default());
        }
        let mut half = [0; 16];
        half.copy_from_slice(&Digest::of(&bytes).as_bytes()[..16]);
        u128::from_be_bytes(half)
    }

    fn values<'a>(
        &'a self,
        head: &'a RequestHead,
        context: &'a Context,
    ) -> impl Iterator<Item = Option<&'a [u8]>> {
        self.0.iter().map(|part| match part {
            KeyPart::Header(name) => head.header(name).map(|value| value.as_bytes()),
            KeyPart::Source => context.source.as_ref().map(|value| value.as_bytes()),
            KeyPart::Identity => context.identity.as_ref().map(|identity| identity.as_str().as_bytes()),
            KeyPart::PathElement(index) => head.path().split('/').nth(index + 1).map(str::as_bytes),
        })
    }
}
