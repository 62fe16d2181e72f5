//! Failed attempts to get a certificate, by where they come from and by token. Pure: time is passed in.
//!
//! A join token cannot be guessed; what this keeps off is the noise, and the work that each attempt costs. Others may be behind the same
//! address, so whoever proves to be somebody is not held off by what they do: what counts against an address is only what proves nothing. A
//! proof from an address that is held off is still checked, as long as such checks are few.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use outrigger_snapshot::join_token::TokenId;

/// Attempts that may fail at once.
pub(super) const FAILED_AT_ONCE: u64 = 10;
/// After so long, one more may, in milliseconds.
pub(super) const FAILED_EVERY_MS: u64 = 6_000;
/// However many have failed, it is over after so long: whoever shares an address with others is not to wait for hours.
const HELD_OFF_MAX_MS: u64 = 2 * FAILED_AT_ONCE * FAILED_EVERY_MS;
/// Sources that are told apart, in each table; all others are taken for one.
pub(super) const SOURCES_MAX: usize = 10_000;
/// Proofs from addresses that are held off of which so many are checked in a second, all of them together. A check takes some 50 µs: this is a
/// hundredth of a core.
pub(super) const CHECKS_PER_S: u64 = 200;
const CHECK_EVERY_MS: u64 = 1_000 / CHECKS_PER_S;

/// See the module.
#[derive(Debug, Default)]
pub struct Attempts {
    /// What proved nothing, by address.
    addresses: Failures<IpAddr>,
    /// What came with a token that the mesh made and was refused all the same, by address and token.
    tokens: Failures<(IpAddr, TokenId)>,
    /// When checks of those who are held off are paid for: the theoretical arrival time of a GCRA, in milliseconds since 1970.
    checked_ms: u64,
}

impl Attempts {
    /// For how long, in milliseconds, nothing that proves nobody is answered there; `None`: it may try.
    pub fn held_off(&mut self, from: IpAddr, now_ms: u64) -> Option<u64> {
        self.addresses.held_off(source(from), now_ms)
    }

    /// Whether a proof from an address that is held off is checked now.
    pub fn may_check(&mut self, now_ms: u64) -> bool {
        let full = now_ms + 1_000;
        // The clock may have been set back.
        self.checked_ms = self.checked_ms.clamp(now_ms, full);
        let may = self.checked_ms + CHECK_EVERY_MS <= full;
        if may {
            self.checked_ms += CHECK_EVERY_MS;
        }
        may
    }

    /// An attempt from there has proved nothing.
    pub fn fail(&mut self, from: IpAddr, now_ms: u64) {
        self.addresses.fail(source(from), now_ms);
    }

    /// For how long, in milliseconds, this token is not looked up for those there; `None`: it may be tried.
    pub fn token_held_off(&mut self, from: IpAddr, token: TokenId, now_ms: u64) -> Option<u64> {
        self.tokens.held_off((source(from), token), now_ms)
    }

    /// An attempt from there with this token was refused.
    pub fn fail_token(&mut self, from: IpAddr, token: TokenId, now_ms: u64) {
        self.tokens.fail((source(from), token), now_ms);
    }
}

/// When all failures of a source will be forgiven: the theoretical arrival time of a GCRA, in milliseconds since 1970. `None` are those for whom
/// there was no room.
#[derive(Debug)]
struct Failures<Source>(HashMap<Option<Source>, u64>);

impl<Source> Default for Failures<Source> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Source: Copy + Eq + Hash> Failures<Source> {
    fn held_off(&mut self, source: Source, now_ms: u64) -> Option<u64> {
        let key = Some(source).filter(|source| self.0.contains_key(&Some(*source)));
        let forgiven = self.0.get_mut(&key)?;
        // The clock may have been set back, and may stay so.
        *forgiven = (*forgiven).min(now_ms + HELD_OFF_MAX_MS);
        let wait = forgiven.saturating_sub(now_ms).saturating_sub((FAILED_AT_ONCE - 1) * FAILED_EVERY_MS);
        (wait > 0).then_some(wait)
    }

    fn fail(&mut self, source: Source, now_ms: u64) {
        let mut key = Some(source);
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, forgiven| *forgiven > now_ms);
            if self.0.len() >= SOURCES_MAX {
                key = None;
            }
        }
        let forgiven = self.0.entry(key).or_default();
        *forgiven = ((*forgiven).max(now_ms) + FAILED_EVERY_MS).min(now_ms + HELD_OFF_MAX_MS);
    }
}

/// Whoever has one IPv6 address has all of its network of 64 bits.
pub(super) fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_may_fail_at_once_and_then_one_every_six_seconds() {
        let (mut attempts, one) = (Attempts::default(), address("10.0.0.1"));
        for _ in 0..FAILED_AT_ONCE {
            assert_eq!(attempts.held_off(one, NOW), None);
            attempts.fail(one, NOW);
        }
        assert_eq!(attempts.held_off(one, NOW), Some(FAILED_EVERY_MS));
        assert_eq!(attempts.held_off(one, NOW + FAILED_EVERY_MS - 1), Some(1));
        assert_eq!(attempts.held_off(one, NOW + FAILED_EVERY_MS), None);
        attempts.fail(one, NOW + FAILED_EVERY_MS);
        assert_eq!(attempts.held_off(one, NOW + FAILED_EVERY_MS), Some(FAILED_EVERY_MS));
        assert_eq!(attempts.held_off(address("10.0.0.2"), NOW), None, "others are not held off");
    }

    #[test]
    fn nobody_is_held_off_for_long_whatever_the_others_do_and_whatever_the_clock_does() {
        let (mut attempts, one) = (Attempts::default(), address("10.0.0.1"));
        for _ in 0..1_000 {
            attempts.fail(one, NOW);
        }
        let most = HELD_OFF_MAX_MS - (FAILED_AT_ONCE - 1) * FAILED_EVERY_MS;
        assert_eq!(attempts.held_off(one, NOW), Some(most));
        assert_eq!(attempts.held_off(one, NOW + most), None);
        let back = NOW - 86_400_000;
        assert_eq!(attempts.held_off(one, back), Some(most), "the clock was set back by a day");
        assert_eq!(attempts.held_off(one, back + most), None, "and stays so");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_mapped_addresses_are_ipv4() {
        let mut attempts = Attempts::default();
        for nth in 0..FAILED_AT_ONCE {
            attempts.fail(address(&format!("2001:db8::{nth:x}")), NOW);
            attempts.fail(address("::ffff:10.0.0.1"), NOW);
        }
        for held_off in ["2001:db8::ffff", "10.0.0.1"] {
            assert!(attempts.held_off(address(held_off), NOW).is_some(), "{held_off}");
        }
        assert_eq!(attempts.held_off(address("2001:db8:0:1::1"), NOW), None);
    }

    #[test]
    fn the_table_is_bounded_and_those_without_room_share_one() {
        let mut attempts = Attempts::default();
        let nth = |nth: usize| IpAddr::from((nth as u32).to_be_bytes());
        for one in 0..SOURCES_MAX * 2 {
            attempts.fail(nth(one), NOW);
        }
        assert!(attempts.addresses.0.len() <= SOURCES_MAX + 1, "{}", attempts.addresses.0.len());
        assert!(attempts.held_off(nth(SOURCES_MAX * 3), NOW).is_some(), "nobody escapes by coming from anew");
        assert_eq!(attempts.held_off(nth(0), NOW), None, "one that has room is judged by itself");
        attempts.fail(nth(7), NOW + 365 * 86_400_000);
        assert_eq!(attempts.addresses.0.len(), SOURCES_MAX + 1);
        attempts.fail(nth(SOURCES_MAX * 3), NOW + 365 * 86_400_000);
        assert!(attempts.addresses.0.len() <= 2, "what is forgiven makes room");
    }

    #[test]
    fn a_token_is_held_off_where_it_failed_and_no_other() {
        let (mut attempts, one) = (Attempts::default(), address("10.0.0.1"));
        let [replayed, good] = [1, 2].map(|_| TokenId::random().unwrap());
        for _ in 0..FAILED_AT_ONCE {
            assert_eq!(attempts.token_held_off(one, replayed, NOW), None);
            attempts.fail_token(one, replayed, NOW);
        }
        assert_eq!(attempts.token_held_off(one, replayed, NOW), Some(FAILED_EVERY_MS));
        assert_eq!(attempts.token_held_off(one, good, NOW), None);
        assert_eq!(attempts.token_held_off(address("10.0.0.2"), replayed, NOW), None);
        assert_eq!(attempts.held_off(one, NOW), None, "it was a token of this mesh");
    }

    #[test]
    fn proofs_from_where_nothing_is_believed_are_checked_so_often_and_no_more() {
        let mut attempts = Attempts::default();
        let mut checked =
            |now_ms| (0..10 * CHECKS_PER_S).filter(|_| attempts.may_check(now_ms)).count() as u64;
        assert_eq!(checked(NOW), CHECKS_PER_S);
        assert_eq!(checked(NOW + 100), CHECKS_PER_S / 10);
        assert_eq!(checked(NOW + 60_000), CHECKS_PER_S, "nothing is saved up");
        assert_eq!(checked(NOW - 86_400_000), 0, "the clock was set back by a day");
        assert_eq!(checked(NOW - 86_399_000), CHECKS_PER_S, "and a second later it is as ever");
    }
}
