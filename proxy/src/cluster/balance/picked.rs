//! What a pick came to.

use std::ops::Deref;
use std::sync::Arc;

use crate::cluster::endpoint::Endpoint;

/// Points to an endpoint, and says what it was picked for.
#[derive(Debug)]
pub struct Picked<'a> {
    pub(super) endpoint: &'a Arc<Endpoint>,
    /// Why there.
    pub reason: PickReason,
}

impl Deref for Picked<'_> {
    type Target = Arc<Endpoint>;

    fn deref(&self) -> &Arc<Endpoint> {
        self.endpoint
    }
}

/// What decided. The first that holds, from the last on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum PickReason {
    /// It was the better of two.
    Cheaper,
    /// It was its turn.
    Turn,
    /// It was drawn.
    Random,
    /// The request's key hashes to it.
    Hash,
    /// The request's key hashes to another, which was full, out, or tried before.
    Overflow,
    /// It was the better one of the key's shard.
    Shard,
    /// There was no other.
    Only,
    /// Too few endpoints were healthy, so that health was not looked at.
    Panic,
    /// The request finds out whether the endpoint is back.
    Trial,
}

/// Every [`PickReason`] as metrics spell it.
pub const PICK_REASONS: [&str; 9] =
    ["cheaper", "turn", "random", "hash", "overflow", "shard", "only", "panic", "trial"];
