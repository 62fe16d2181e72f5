//! The certificate that the mesh's authority made last, and its key.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::StateFile;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastIdentity {
    /// See [`StateFile::VERSION`].
    pub version: u32,
    /// What is in force.
    pub pair: Option<Pair>,
    /// A key for which a join token is being used, in PEM.
    pub pending: Option<Secret>,
}

/// A certificate and its key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// In PEM.
    pub key: Secret,
    /// In PEM, the own certificate first.
    pub chain: String,
    /// By whom the control plane said that the mesh is believed, in PEM.
    pub roots: String,
    /// When it came, in seconds since 1970.
    pub since_unix: u64,
}

/// A private key. Never printed; written nowhere but into a file of the state folder.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// For use.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(redacted)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

impl Default for LastIdentity {
    fn default() -> Self {
        Self { version: Self::VERSION, pair: None, pending: None }
    }
}

impl StateFile for LastIdentity {
    const NAME: &'static str = "identity.json";
    const VERSION: u32 = 1;
    const BYTES_MAX: usize = 1 << 20;

    fn version(&self) -> u32 {
        self.version
    }

    fn is_bounded(&self) -> bool {
        true
    }
}
