//! How many of a cluster's endpoints each of its callers has: asked by proxies, and by whoever explains what they do.

/// Up to so many connections, callers times endpoints, everyone calls everyone.
pub const CONNECTIONS_MAX: usize = 2_000;

/// Where callers have no seats, an endpoint is in the subsets of so many of them on average: those of most are within a tenth of it, and
/// hardly any a third off. Counts of callers are rounded up, so that it may be half of this.
pub const CALLERS_EACH: usize = 128;

/// How many of `endpoints` each of `callers` has where it asks for `wanted`; `None`: all. `seated`: each caller's place among all is known,
/// so that however few there are, they leave no endpoint alone.
pub fn size(callers: u32, endpoints: usize, wanted: usize, seated: bool) -> Option<usize> {
    let callers = callers.max(1) as usize;
    if callers.saturating_mul(endpoints) <= CONNECTIONS_MAX {
        return None;
    }
    let least = if seated { 0 } else { endpoints.saturating_mul(CALLERS_EACH).div_ceil(callers) };
    Some(wanted.max(least)).filter(|size| *size < endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_need_no_subsets_and_few_callers_must_leave_nobody_alone() {
        for (callers, endpoints, seated, named) in [
            (0, 20_000, Some(12), None),
            (16, 125, None, None),
            (16, 126, Some(12), None),
            (32, 100, Some(12), None),
            (128, 100, Some(12), None),
            (256, 100, Some(12), Some(50)),
            (1_024, 100, Some(12), Some(13)),
            (1_024, 1_000, Some(12), Some(125)),
            (4_096, 12, None, None),
            (4_096, 13, Some(12), Some(12)),
        ] {
            assert_eq!(size(callers, endpoints, 12, true), seated, "{callers} × {endpoints}");
            assert_eq!(size(callers, endpoints, 12, false), named, "{callers} × {endpoints}");
        }
        assert_eq!(size(1_024, 100, 48, false), Some(48));
        assert_eq!(size(1_024, 100, 100, true), None);
    }
}
