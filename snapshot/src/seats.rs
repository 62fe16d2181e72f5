//! Who calls a cluster, in an order that all of them know: what is somebody's place in it is their seat.
//!
//! Callers are numbers of eight bytes that say nothing about them, in the order of these numbers: one caller more or less moves the others by
//! one seat at most.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, hex};

/// Most callers of one cluster that have seats: beyond it, nobody has.
pub const SEATS_MAX: usize = 4_096;

/// Most seats of all clusters: 8 bytes each in what every sidecar reads.
pub const SEATS_TOTAL_MAX: usize = 32_768;

/// The number of a caller: the first eight bytes of the SHA-256 of service, a space, and node. Those of two services may have the same node
/// name. Two that have the same number have the same seat.
pub fn caller(service: &str, node: &str) -> u64 {
    let digest = Digest::of(format!("{service} {node}").as_bytes());
    digest.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The callers of one cluster, in ascending order, each once. Written as texts of 16 hex digits, as not every reader of JSON knows numbers
/// of 64 bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seats(Arc<[u64]>);

/// Why numbers are no seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeatsError {
    /// A list of nobody: it should not be there.
    #[error("seats of nobody")]
    Empty,
    /// More than may have seats.
    #[error("{0} seats, at most {SEATS_MAX} are allowed")]
    TooMany(usize),
    /// Not in ascending order, or twice the same.
    #[error("seats that are not in ascending order, each once")]
    Order,
    /// Not the number of a caller.
    #[error("a seat that is not 16 lower-case hex digits")]
    Number,
}

impl Seats {
    /// Seats for `callers`.
    pub fn new(callers: Vec<u64>) -> Result<Self, SeatsError> {
        match callers.len() {
            0 => Err(SeatsError::Empty),
            count if count > SEATS_MAX => Err(SeatsError::TooMany(count)),
            _ if !callers.is_sorted_by(|one, next| one < next) => Err(SeatsError::Order),
            _ => Ok(Self(callers.into())),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody has a seat.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who sits, in order.
    pub fn callers(&self) -> &[u64] {
        &self.0
    }

    /// The place of `caller` among all, from 0.
    pub fn ordinal(&self, caller: u64) -> Option<usize> {
        self.0.binary_search(&caller).ok()
    }
}

impl Serialize for Seats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|caller| format!("{caller:016x}")))
    }
}

impl<'de> Deserialize<'de> for Seats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |text: String| hex(&text).map(u64::from_be_bytes).ok_or(SeatsError::Number);
        let numbers: Result<Vec<u64>, _> =
            Vec::<String>::deserialize(deserializer)?.into_iter().map(number).collect();
        numbers.and_then(Self::new).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_finds_its_place() {
        // printf 'default/web web-1' | sha256sum
        let web = caller("default/web", "web-1");
        assert_eq!(format!("{web:016x}"), "add67bc081c94e00");
        assert_ne!(web, caller("shop/web", "web-1"), "nodes of two services");
        let seats = Seats::new(vec![1, web, u64::MAX]).unwrap();
        assert_eq!([1, web, 2, u64::MAX].map(|one| seats.ordinal(one)), [Some(0), Some(1), None, Some(2)]);
        let json = serde_json::to_string(&seats).unwrap();
        assert_eq!(json, r#"["0000000000000001","add67bc081c94e00","ffffffffffffffff"]"#);
        assert_eq!(serde_json::from_str::<Seats>(&json).unwrap(), seats);
        assert_eq!(Seats::default().ordinal(1), None);
    }

    #[test]
    fn what_are_no_seats_is_refused() {
        let many = |count: usize| Seats::new((0..count as u64).collect());
        assert_eq!(many(SEATS_MAX).unwrap().len(), SEATS_MAX);
        assert_eq!(many(SEATS_MAX + 1), Err(SeatsError::TooMany(SEATS_MAX + 1)));
        let one = "0000000000000001";
        let two = "0000000000000002";
        for text in [
            "[]".to_owned(),
            "[1]".to_owned(),
            r#"["1"]"#.to_owned(),
            r#"["000000000000000A"]"#.to_owned(),
            r#"["+000000000000001"]"#.to_owned(),
            format!("[{one:?},{one:?}]"),
            format!("[{two:?},{one:?}]"),
        ] {
            assert!(serde_json::from_str::<Seats>(&text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Seats>(&format!("[{one:?},{two:?}]")).is_ok());
    }
}
