//! Consistent hashing: a ring on which every endpoint holds points in proportion to its weight. A key belongs to the first point
//! at or after its hash, so that an endpoint that leaves takes only its own keys with it.
//!
//! A ring rather than a Maglev table: it moves no other keys at all, takes a sixteenth of the memory for a small cluster, and
//! walking on from a point is where a bounded load finds its next candidate.

/// Points of an endpoint of average weight: the load of equal endpoints then differs by about 1/√256 = 6 %.
pub const POINTS_PER_ENDPOINT: usize = 256;

/// Most points of one ring (1 MiB), beyond which endpoints get fewer each, but at least one.
pub const RING_POINTS_MAX: usize = 131_072;

/// A point: where on the ring, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    position: u32,
    index: u32,
}

/// An immutable ring over the entries 0..n.
#[derive(Debug)]
pub struct HashRing {
    points: Box<[Point]>,
}

impl HashRing {
    /// A ring of entries, each with a name that is the same in every process (it decides where the points are) and a weight.
    /// Entries of weight 0 get no point.
    pub fn new<'a>(entries: impl ExactSizeIterator<Item = (&'a [u8], u32)> + Clone) -> Self {
        let total: u64 = entries.clone().map(|(_, weight)| u64::from(weight)).sum();
        let wanted = (entries.len() * POINTS_PER_ENDPOINT).min(RING_POINTS_MAX) as u64;
        let mut points = Vec::with_capacity(wanted as usize + entries.len());
        for (index, (name, weight)) in entries.enumerate().filter(|(_, (_, weight))| *weight > 0) {
            let count = (wanted * u64::from(weight)).div_ceil(total.max(1));
            let seed = stable_hash(name);
            points.extend(
                (0..count)
                    .map(|nth| Point { position: (mix(seed ^ mix(nth)) >> 32) as u32, index: index as u32 }),
            );
        }
        points.sort_unstable();
        Self { points: points.into_boxed_slice() }
    }

    /// The entries in the order in which `key` prefers them; one comes up once per point, and each at least once.
    pub fn walk(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let position = (mix(key) >> 32) as u32;
        let start = self.points.partition_point(|point| point.position < position);
        self.points[start..].iter().chain(&self.points[..start]).map(|point| point.index as usize)
    }
}

/// A hash that every process of every version computes alike, so that all sidecars send a key to the same endpoint (FNV-1a,
/// then a finaliser for its weak high bits). It is not keyed: who chooses keys can aim at an endpoint, which the bounded load limits.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(folded)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 20_000;

    fn ring(entries: &[(String, u32)]) -> HashRing {
        HashRing::new(entries.iter().map(|(name, weight)| (name.as_bytes(), *weight)))
    }

    fn named(count: usize) -> Vec<(String, u32)> {
        (0..count).map(|nth| (format!("10.0.0.{nth}:80"), 1)).collect()
    }

    fn owner<'a>(entries: &'a [(String, u32)], ring: &HashRing, key: u64) -> &'a str {
        &entries[ring.walk(key).next().unwrap()].0
    }

    #[test]
    fn keys_spread_by_weight() {
        let mut entries = named(10);
        entries[3].1 = 5;
        let ring = ring(&entries);
        let mut counts = [0_u64; 10];
        for key in 0..KEYS {
            counts[ring.walk(key).next().unwrap()] += 1;
        }
        for (index, count) in counts.iter().enumerate() {
            let fair = KEYS as f64 * if index == 3 { 5.0 } else { 1.0 } / 14.0;
            assert!((*count as f64 / fair - 1.0).abs() < 0.25, "{index}: {count} of {fair}");
        }
    }

    #[test]
    fn an_entry_that_leaves_moves_only_its_own_keys() {
        let before = named(10);
        let mut after = before.clone();
        let gone = after.remove(4).0;
        let (ring_before, ring_after) = (ring(&before), ring(&after));
        let moved = (0..KEYS)
            .filter(|key| owner(&before, &ring_before, *key) != owner(&after, &ring_after, *key))
            .inspect(|key| assert_eq!(owner(&before, &ring_before, *key), gone))
            .count();
        assert!(moved as f64 <= KEYS as f64 * (0.1 + 0.05), "{moved} keys moved");
    }

    #[test]
    fn a_walk_meets_everyone_and_weight_zero_never() {
        let mut entries = named(20);
        entries[7].1 = 0;
        let ring = ring(&entries);
        for key in [0, 1, u64::MAX, 12_345] {
            let met: std::collections::BTreeSet<_> = ring.walk(key).collect();
            assert_eq!(met.len(), 19);
            assert!(!met.contains(&7));
        }
        assert_eq!(HashRing::new([].iter().map(|name: &&[u8]| (*name, 1))).walk(1).next(), None);
    }

    #[test]
    fn a_large_ring_is_bounded_and_complete() {
        let ring = ring(&named(3_000));
        assert!(ring.points.len() <= RING_POINTS_MAX + 3_000);
        let met: std::collections::BTreeSet<_> = ring.walk(9).collect();
        assert_eq!(met.len(), 3_000);
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(stable_hash(b""), 0xc381_7c01_6ba4_ff30);
        assert_eq!(stable_hash(b"cart"), 0x7135_f409_030e_e8dd);
    }
}
