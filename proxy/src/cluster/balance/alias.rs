//! Drawing by weight in constant time (Walker's alias method, in Vose's construction).

/// A table over 0..n that draws each index in proportion to its weight.
#[derive(Debug)]
pub(super) struct AliasTable {
    slots: Box<[Slot]>,
}

/// One n-th of the probability: `threshold`/2^32 of it is the slot's own index, the rest is `other`.
#[derive(Debug, Clone, Copy)]
struct Slot {
    threshold: u32,
    other: u32,
}

impl AliasTable {
    /// A table of `weights`, whose sum is more than 0.
    pub(super) fn new(weights: &[u32]) -> Self {
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let count = weights.len() as u128;
        // In units of 1/(n·total): a slot holds `total` of them.
        let mut shares: Vec<u128> = weights.iter().map(|weight| u128::from(*weight) * count).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|index| shares[*index] < total);
        let mut slots: Vec<Slot> =
            (0..weights.len() as u32).map(|index| Slot { threshold: u32::MAX, other: index }).collect();
        while let (Some(less), Some(more)) = (small.pop(), large.pop()) {
            slots[less] = Slot { threshold: ((shares[less] << 32) / total) as u32, other: more as u32 };
            shares[more] -= total - shares[less];
            if shares[more] < total { small.push(more) } else { large.push(more) }
        }
        Self { slots: slots.into_boxed_slice() }
    }

    /// The index that 64 random bits stand for.
    pub(super) fn draw(&self, random: u64) -> usize {
        let index = ((random >> 32) as usize * self.slots.len()) >> 32;
        let slot = self.slots[index];
        if (random as u32) < slot.threshold { index } else { slot.other as usize }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_table_holds_exactly_the_weights(weights in prop::collection::vec(0_u32..1_000_000, 1..40)) {
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            prop_assume!(total > 0.0);
            let table = AliasTable::new(&weights);
            let mut shares = vec![0.0; weights.len()];
            for (index, slot) in table.slots.iter().enumerate() {
                let own = if slot.other as usize == index { 1.0 } else { f64::from(slot.threshold) / 2_f64.powi(32) };
                shares[index] += own / weights.len() as f64;
                shares[slot.other as usize] += (1.0 - own) / weights.len() as f64;
            }
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!((share - f64::from(*weight) / total).abs() < 1e-6, "{shares:?}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_random_range_are_in_bounds() {
        let table = AliasTable::new(&[1, 2, 3]);
        assert!(table.draw(0) < 3);
        assert!(table.draw(u64::MAX) < 3);
    }
}
