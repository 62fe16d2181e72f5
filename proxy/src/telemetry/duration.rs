//! Durations, counted once and shown twice: as a histogram with the bounds that dashboards know, and as a native one of Prometheus, whose
//! bounds grow by 2^(1/8), 9 %. A cell lies between two neighbours of both kinds of bounds, so that one counter serves either.

use std::sync::OnceLock;

use super::metrics::{Counter, DURATION_BOUNDS_NS};

/// The resolution of the native histogram: bounds are powers of 2^(2^-SCHEMA).
pub const SCHEMA: i32 = 3;
/// Bounds from one power of two to the next.
const PER_OCTAVE: i32 = 1 << SCHEMA;
/// The least native bound is 2^-14 s, 61 µs; what is less is nothing to it.
const NATIVE_FIRST: i32 = -14 * PER_OCTAVE;
/// The greatest is 2^17 s, 36 h; what is more is told as if it were in the bucket above.
const NATIVE_LAST: i32 = 17 * PER_OCTAVE;
const NATIVE: usize = (NATIVE_LAST - NATIVE_FIRST + 1) as usize;
const CLASSIC: usize = DURATION_BOUNDS_NS.len();
/// A quarter, a half and a whole second are bounds of both kinds.
const BOUNDS: usize = NATIVE + CLASSIC - 3;
/// The last has no upper bound.
const CELLS: usize = BOUNDS + 1;
/// Cells that there is room for at once: most series need two or three of these.
const CHUNK: usize = 32;
const CHUNKS: usize = CELLS.div_ceil(CHUNK);

/// What the native histogram takes for zero, in seconds.
pub const ZERO_THRESHOLD: f64 = 1.0 / (1 << 14) as f64;

/// 2^(n/8).
const FRACTIONS: [f64; PER_OCTAVE as usize] = [
    1.0,
    1.090_507_732_665_257_7,
    1.189_207_115_002_721,
    1.296_839_554_651_009_6,
    std::f64::consts::SQRT_2,
    1.542_210_825_407_940_7,
    1.681_792_830_507_429,
    1.834_008_086_409_342_4,
];

const fn native_bound_ns(index: i32) -> u64 {
    let octave = index.div_euclid(PER_OCTAVE);
    let scale = if octave < 0 { 1.0 / (1_u64 << -octave) as f64 } else { (1_u64 << octave) as f64 };
    (FRACTIONS[index.rem_euclid(PER_OCTAVE) as usize] * scale * 1e9) as u64
}

/// Every bound of either kind, each belonging to the cell below it. What follows is never reached.
const BOUNDS_NS: [u64; BOUNDS + STEPS] = {
    let mut bounds = [u64::MAX; BOUNDS + STEPS];
    let (mut native, mut classic, mut next) = (0, 0, 0);
    while next < BOUNDS {
        let one = if native < NATIVE { native_bound_ns(NATIVE_FIRST + native as i32) } else { u64::MAX };
        let other = if classic < CLASSIC { DURATION_BOUNDS_NS[classic] } else { u64::MAX };
        bounds[next] = if one < other { one } else { other };
        native += (one <= other) as usize;
        classic += (other <= one) as usize;
        next += 1;
    }
    bounds
};

/// Parts of equal width that an octave is looked up by. Each has at most [`STEPS`] bounds in it.
const PARTS: usize = 16;
const STEPS: usize = 3;

/// By the highest bit of a duration and the four after it: the first bound that may be its own.
static FIRST: [u16; 64 * PARTS] = {
    let mut first = [0; 64 * PARTS];
    let (mut part, mut index) = (0, 0);
    while part < first.len() {
        let least = (((PARTS + part % PARTS) as u128) << (part / PARTS)) / PARTS as u128;
        while index < BOUNDS && (BOUNDS_NS[index] as u128) < least {
            index += 1;
        }
        first[part] = index as u16;
        part += 1;
    }
    first
};

/// The cell of a duration: without a branch, as it is another each time.
fn cell(duration_ns: u64) -> usize {
    static BOUNDS_HERE: [u64; BOUNDS + STEPS] = BOUNDS_NS;
    let bit = (duration_ns | 1).ilog2();
    let part = (duration_ns << (63 - bit) >> 59) as usize % PARTS;
    let from = usize::from(FIRST[bit as usize * PARTS + part]);
    let above = |step: usize| usize::from(duration_ns > BOUNDS_HERE[from + step]);
    from + above(0) + above(1) + above(2)
}

/// The number of the classic bucket that a duration is in.
pub(super) fn classic_bucket(duration_ns: u64) -> usize {
    DURATION_BOUNDS_NS.iter().position(|bound| duration_ns <= *bound).unwrap_or(CLASSIC)
}

/// Durations that one worker counts.
#[derive(Debug, Default)]
pub struct Durations {
    chunks: [OnceLock<Box<[Counter; CHUNK]>>; CHUNKS],
    sum_ns: Counter,
}

impl Durations {
    /// Counts one; only the owning worker may call it.
    pub fn add(&self, duration_ns: u64) {
        let cell = cell(duration_ns);
        let chunk = self.chunks[cell / CHUNK].get_or_init(Box::default);
        chunk[cell % CHUNK].add(1);
        self.sum_ns.add(duration_ns);
    }

    /// Begins anew; only the owning worker may call it.
    pub(super) fn clear(&self) {
        for counter in self.chunks.iter().filter_map(OnceLock::get).flat_map(|chunk| chunk.iter()) {
            counter.clear();
        }
        self.sum_ns.clear();
    }
}

/// Those of several workers together, as a scrape sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    cells: Box<[u64; CELLS]>,
    sum_ns: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self { cells: Box::new([0; CELLS]), sum_ns: 0 }
    }
}

impl Counted {
    /// Adds those of a worker.
    pub fn add(&mut self, durations: &Durations) {
        for (chunk, known) in durations.chunks.iter().zip(self.cells.chunks_mut(CHUNK)) {
            for (counter, cell) in chunk.get().iter().flat_map(|chunk| chunk.iter()).zip(known) {
                *cell = cell.wrapping_add(counter.value());
            }
        }
        self.sum_ns = self.sum_ns.wrapping_add(durations.sum_ns.value());
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        for (cell, more) in self.cells.iter_mut().zip(other.cells.iter()) {
            *cell = cell.wrapping_add(*more);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// In seconds.
    pub fn sum(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// How many were within each of [`DURATION_BOUNDS_NS`] and above the one before; the last were above all.
    pub fn classic(&self) -> [u64; CLASSIC + 1] {
        let mut buckets = [0; CLASSIC + 1];
        let mut bucket = 0;
        for (cell, count) in self.cells.iter().enumerate() {
            while bucket < CLASSIC && BOUNDS_NS[cell] > DURATION_BOUNDS_NS[bucket] {
                bucket += 1;
            }
            buckets[bucket] = count.wrapping_add(buckets[bucket]);
        }
        buckets
    }

    /// How many the native histogram takes for zero, and those in its buckets: the bucket `n` ends with 2^(n/8) s.
    pub fn native(&self) -> (u64, Vec<(i32, u64)>) {
        let (mut zero, mut buckets) = (0_u64, Vec::<(i32, u64)>::new());
        let mut index = NATIVE_FIRST;
        for (cell, count) in self.cells.iter().enumerate() {
            while index <= NATIVE_LAST && BOUNDS_NS[cell] > native_bound_ns(index) {
                index += 1;
            }
            match buckets.last_mut() {
                _ if *count == 0 => {}
                _ if index == NATIVE_FIRST => zero = zero.wrapping_add(*count),
                Some((last, known)) if *last == index => *known = known.wrapping_add(*count),
                _ => buckets.push((index, *count)),
            }
        }
        (zero, buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(durations_ns: &[u64]) -> Counted {
        let durations = Durations::default();
        durations_ns.iter().for_each(|duration_ns| durations.add(*duration_ns));
        let mut counted = Counted::default();
        counted.add(&durations);
        counted
    }

    #[test]
    fn bounds_grow_and_end_where_they_should() {
        assert!(BOUNDS_NS[..=BOUNDS].is_sorted_by(|one, next| one < next));
        // What is looked up is what a search finds, on either side of each bound.
        for at_ns in BOUNDS_NS[..BOUNDS].iter().flat_map(|bound| [bound - 1, *bound, bound + 1]) {
            assert_eq!(cell(at_ns), BOUNDS_NS.partition_point(|bound| *bound < at_ns), "{at_ns}");
        }
        assert_eq!((BOUNDS_NS[0], BOUNDS_NS[BOUNDS - 1]), (61_035, 131_072_000_000_000));
        assert!(DURATION_BOUNDS_NS.iter().all(|bound| BOUNDS_NS.contains(bound)));
        assert_eq!(CHUNKS, 9);
    }

    #[test]
    fn both_histograms_have_each_duration_where_its_bounds_say() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let duration_ns = random.u64(..) >> random.u32(10..64);
            let counted = counted(&[duration_ns]);
            let mut classic = [0; CLASSIC + 1];
            classic[classic_bucket(duration_ns)] = 1;
            assert_eq!(counted.classic(), classic, "{duration_ns}");
            let seconds = duration_ns as f64 / 1e9;
            match counted.native() {
                (1, buckets) if buckets.is_empty() => assert!(seconds <= ZERO_THRESHOLD, "{duration_ns}"),
                (0, buckets) => {
                    let [(index, 1)] = buckets[..] else { panic!("{buckets:?}") };
                    let bound = |index: i32| 2_f64.powf(f64::from(index) / f64::from(PER_OCTAVE));
                    // Bounds are whole nanoseconds here.
                    let below = seconds <= bound(index) + 1e-9 || index > NATIVE_LAST;
                    assert!(below && seconds > bound(index - 1) - 1e-9, "{duration_ns} in {index}");
                }
                other => panic!("{duration_ns}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_workers_count_adds_up_and_can_begin_anew() {
        let (one, two) = (Durations::default(), Durations::default());
        [0, 500_000, 500_001].into_iter().for_each(|ns| one.add(ns));
        [500_000, 3_600_000_000_000, u64::MAX / 2].into_iter().for_each(|ns| two.add(ns));
        let mut all = Counted::default();
        all.add(&one);
        all.add(&two);
        let classic = all.classic();
        assert_eq!((classic[0], classic[1], classic[CLASSIC]), (3, 1, 2));
        let (zero, buckets) = all.native();
        assert_eq!((zero, buckets.iter().map(|(_, count)| count).sum::<u64>()), (1, 5));
        one.clear();
        let mut rest = Counted::default();
        rest.add(&one);
        assert_eq!(rest, Counted::default());
    }
}
