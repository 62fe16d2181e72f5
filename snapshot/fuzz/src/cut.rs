//! Readers of first bytes must not depend on how these were cut on their way.

use std::fmt::Debug;

/// Prefixes that are tried of one input.
const CUTS_MAX: usize = 64;

/// What `read` says of all of `data`. Of each prefix it must say either that, or that it is `undecided`, and the latter only before the former.
pub fn anywhere<T: PartialEq + Debug>(data: &[u8], undecided: &T, read: impl Fn(&[u8]) -> T) -> T {
    let whole = read(data);
    let step = data.len() / CUTS_MAX + 1;
    let mut decided = false;
    for length in (0..data.len()).step_by(step) {
        let said = read(&data[..length]);
        decided |= said != *undecided;
        assert_eq!(&said, if decided { &whole } else { undecided }, "cut at {length}");
    }
    whole
}
