//! Smooth weighted round robin: the turns of one round, spread out ("aabacaa" rather than "aaaaabc").

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Turns in one round, beyond which weights are rounded, each entry keeping at least one turn.
pub(super) const ROUND_TURNS_MAX: u64 = 4_096;

/// The indices of `weights` in the order of their turns, by earliest deadline: an entry's k-th turn is due at `(k + ½)/weight`
/// of the round.
pub(super) fn round(weights: &[u32]) -> Box<[u32]> {
    let turns = turns(weights);
    let total: u64 = turns.iter().sum();
    // Deadlines are fractions of a round; as `(2k + 1) · 2^32 / turns` they compare as integers.
    let due = |index: usize, taken: u64| ((2 * taken + 1) << 32) / turns[index];
    let mut waiting: BinaryHeap<_> = (0..turns.len())
        .filter(|index| turns[*index] > 0)
        .map(|index| Reverse((due(index, 0), index, 0_u64)))
        .collect();
    let mut round = Vec::with_capacity(total as usize);
    while let Some(Reverse((_, index, taken))) = waiting.pop() {
        round.push(index as u32);
        if taken + 1 < turns[index] {
            waiting.push(Reverse((due(index, taken + 1), index, taken + 1)));
        }
    }
    round.into_boxed_slice()
}

/// Turns per round of each weight: the smallest integers in the same ratio, or rounded ones where those are too many.
fn turns(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, u64::from(*weight))).max(1);
    let total = weights.iter().map(|weight| u64::from(*weight)).sum::<u64>() / divisor;
    let turns_max = ROUND_TURNS_MAX.max(weights.len() as u64);
    let scaled = |weight: u32| {
        let turns = u64::from(weight) / divisor;
        if total <= turns_max || weight == 0 { turns } else { (turns * turns_max / total).max(1) }
    };
    weights.iter().map(|weight| scaled(*weight)).collect()
}

fn gcd(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { gcd(right, left % right) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_in_ratio_and_spread_out() {
        assert_eq!(*round(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(*round(&[300, 100]), [0, 0, 1, 0]);
        assert_eq!(*round(&[0, 7]), [1]);
        assert_eq!(*round(&[5, 1, 1]), [0, 0, 0, 1, 2, 0, 0]);
    }

    #[test]
    fn a_round_is_bounded_whatever_the_weights() {
        let weights = [u32::MAX, u32::MAX - 1, 1];
        let round = round(&weights);
        assert!(round.len() as u64 <= ROUND_TURNS_MAX + 3);
        assert_eq!(round.iter().filter(|index| **index == 2).count(), 1);
        let equal = vec![7; 10_000];
        assert_eq!(super::round(&equal).len(), 10_000);
    }
}
