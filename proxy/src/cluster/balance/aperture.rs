//! Deterministic aperture (Finagle): which part of a cluster each of its callers has, so that every endpoint gets the same from all of them.
//!
//! The endpoints tile a ring by weight, in an order that is the same for every caller. Caller i of N looks out at i/N, `c`/N wide: all of
//! them together go `c` times around the ring, so that each endpoint is seen by as many callers as any other, give or take one; and one that
//! is cut by an edge has only what is inside. With `ceil(k/M·N)` for `c` a caller has k of M endpoints, or a few more.

use std::fmt;

/// Where a caller sits among all that call a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    ordinal: u32,
    callers: u32,
}

impl Seat {
    /// Seat `ordinal` of `callers`, from 0; `None` if there are not so many.
    pub fn new(ordinal: u32, callers: u32) -> Option<Self> {
        (ordinal < callers).then_some(Self { ordinal, callers })
    }

    /// Which of the endpoints with these weights, in the order of the ring, are to be seen from here, and their weights in what is: at least
    /// `size` of them, if there are so many, however the weights differ. All of them if that is no fewer.
    pub fn aperture(self, weights: &[u32], size: usize) -> Vec<(usize, u32)> {
        let callers = u128::from(self.callers);
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let heaviest = weights.iter().max().map_or(0, |weight| u128::from(*weight));
        // Lengths are in parts of the whole ring, which has `callers · total` of them. `size` of the heaviest fill so much of it:
        let width = (size as u128 * heaviest * callers).div_ceil(total.max(1));
        if width >= callers {
            return weights.iter().copied().enumerate().collect();
        }
        let ring = callers * total;
        let left = u128::from(self.ordinal) * total;
        let right = left + width * total;
        let mut end = 0;
        let seen = weights.iter().enumerate().filter_map(|(index, weight)| {
            let start = end;
            end += u128::from(*weight) * callers;
            // What is beyond the end of the ring is at its beginning.
            let part =
                overlap((start, end), (left, right)) + overlap((start + ring, end + ring), (left, right));
            (part > 0).then_some((index, part))
        });
        fit(seen.collect())
    }
}

/// As people count.
impl fmt::Display for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "seat {} of {}", self.ordinal + 1, self.callers)
    }
}

fn overlap(one: (u128, u128), other: (u128, u128)) -> u128 {
    one.1.min(other.1).saturating_sub(one.0.max(other.0))
}

/// The same as weights: none of them 0.
fn fit(parts: Vec<(usize, u128)>) -> Vec<(usize, u32)> {
    let most = parts.iter().map(|(_, part)| *part).max().unwrap_or_default();
    let excess = (u128::BITS - most.leading_zeros()).saturating_sub(u32::BITS);
    let weight = |part: u128| u32::try_from(part >> excess).unwrap_or(u32::MAX).max(1);
    parts.into_iter().map(|(index, part)| (index, weight(part))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What all callers give to each endpoint, one each, and how many of them see it.
    fn together(callers: u32, weights: &[u32], size: usize) -> (Vec<f64>, Vec<u32>) {
        let (mut load, mut seen) = (vec![0.0; weights.len()], vec![0; weights.len()]);
        for ordinal in 0..callers {
            let aperture = Seat::new(ordinal, callers).unwrap().aperture(weights, size);
            let own: f64 = aperture.iter().map(|(_, weight)| f64::from(*weight)).sum();
            for (index, weight) in aperture {
                load[index] += f64::from(weight) / own;
                seen[index] += 1;
            }
        }
        (load, seen)
    }

    #[test]
    fn every_endpoint_has_the_same_load_and_as_many_callers() {
        for callers in [10, 33, 50, 200] {
            for endpoints in [20, 47, 100] {
                let (load, seen) = together(callers, &vec![1; endpoints], 12);
                let mean = f64::from(callers) / endpoints as f64;
                for load in &load {
                    assert!((load / mean - 1.0).abs() < 1e-6, "{callers} × {endpoints}: {load} of {mean}");
                }
                let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
                assert!(most - least <= 1, "{callers} × {endpoints}: {least} to {most}");
                let connections = seen.iter().sum::<u32>() as usize;
                let narrow = (12 * callers as usize).max(endpoints) + 2 * callers as usize;
                assert!(callers < 33 || connections <= narrow, "{callers} × {endpoints}: {connections}");
            }
        }
    }

    #[test]
    fn few_callers_see_all_between_them() {
        // One of one, and each of eight an eighth.
        assert_eq!(Seat::new(0, 1).unwrap().aperture(&[1; 100], 12).len(), 100);
        let (_, seen) = together(8, &[1; 104], 12);
        assert_eq!(seen, [1; 104]);
        assert_eq!(Seat::new(8, 8), None);
    }

    #[test]
    fn one_more_caller_moves_a_caller_by_less_than_its_own_width() {
        let weights = [1; 100];
        let seen = |ordinal, callers| -> Vec<usize> {
            let aperture = Seat::new(ordinal, callers).unwrap().aperture(&weights, 12);
            aperture.into_iter().map(|(index, _)| index).collect()
        };
        for ordinal in 0..200 {
            let before = seen(ordinal, 200);
            // Whoever comes sits before or after.
            for after in [seen(ordinal, 201), seen(ordinal + 1, 201)] {
                let kept = before.iter().filter(|index| after.contains(index)).count();
                assert!(kept + 1 >= before.len(), "{before:?} {after:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn weights_are_kept_and_nobody_has_too_few(
            callers in 1_u32..300,
            weights in prop::collection::vec(1_u32..8, 12..150),
            size in 12_usize..40,
        ) {
            let total = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
            let (load, _) = together(callers, &weights, size);
            for (load, weight) in load.iter().zip(&weights) {
                let fair = f64::from(callers) * f64::from(*weight) / total;
                prop_assert!((load / fair - 1.0).abs() < 1e-6, "{load} of {fair}");
            }
            for ordinal in 0..callers {
                let aperture = Seat::new(ordinal, callers).unwrap().aperture(&weights, size);
                prop_assert!(aperture.len() >= size.min(weights.len()));
            }
        }

        #[test]
        fn no_weights_are_too_large(ordinal in 0_u32..4_096, weights in prop::collection::vec(1..=u32::MAX, 1..40)) {
            let aperture = Seat::new(ordinal, 4_096).unwrap().aperture(&weights, 2);
            prop_assert!(!aperture.is_empty() && aperture.iter().all(|(_, weight)| *weight > 0));
        }
    }
}
