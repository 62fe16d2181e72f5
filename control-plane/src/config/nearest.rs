//! The valid name nearest to a misspelt one.

/// Longest text that is compared, in characters; a longer one has no neighbour.
const CHARACTERS_MAX: usize = 80;

/// What other proxies and meshes (Envoy, Istio, Linkerd) call it, in lower case, and what it is called here.
const ELSEWHERE: [(&str, &str); 24] = [
    ("action", "access"),
    ("circuitbreaker", "breaker"),
    ("circuitbreakers", "limits"),
    ("connectionpool", "limits"),
    ("hashpolicy", "hash"),
    ("healthchecks", "healthCheck"),
    ("idletimeout", "idle"),
    ("lbpolicy", "balance"),
    ("least_request", "LeastRequest"),
    ("loadbalancer", "balance"),
    ("maglev", "ConsistentHash"),
    ("maxconnections", "connections"),
    ("maxrequests", "requests"),
    ("numretries", "attempts"),
    ("outlierdetection", "ejection"),
    ("pertrytimeout", "try"),
    ("principals", "identities"),
    ("retries", "retry"),
    ("retryon", "statuses"),
    ("retrypolicy", "retry"),
    ("ring_hash", "ConsistentHash"),
    ("serviceaccounts", "identities"),
    ("sourceip", "sources"),
    ("unit", "period"),
];

/// The candidate with the smallest edit distance to `text`, if it is near enough to be meant, or else what it is called elsewhere. Case does
/// not count, so that `pathprefix` finds `PathPrefix`.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let elsewhere = || {
        let written = text.to_lowercase();
        let (_, name) = ELSEWHERE.iter().find(|(other, _)| *other == written)?;
        candidates.contains(name).then(|| (*name).to_owned())
    };
    by_distance(text, candidates.iter().copied()).or_else(elsewhere)
}

fn by_distance<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let written: Vec<char> = text.to_lowercase().chars().take(CHARACTERS_MAX + 1).collect();
    if written.is_empty() || written.len() > CHARACTERS_MAX {
        return None;
    }
    let near_enough = if written.len() == 1 { 0 } else { (written.len() / 3).max(1) };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let limit = best.map_or(near_enough + 1, |(distance, _)| distance);
        let other: Vec<char> = candidate.to_lowercase().chars().take(CHARACTERS_MAX + 1).collect();
        if other.len() > CHARACTERS_MAX || other.len().abs_diff(written.len()) >= limit {
            continue;
        }
        let distance = distance(&written, &other);
        if distance < limit {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

/// Optimal string alignment distance: insertions, deletions, substitutions, and swaps of neighbours.
fn distance(left: &[char], right: &[char]) -> usize {
    let width = right.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    let mut row: Vec<usize> = vec![0; width];
    for (i, a) in left.iter().enumerate() {
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = last[j] + usize::from(a != b);
            let mut cost = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            row[j + 1] = cost;
        }
        std::mem::swap(&mut before, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let names = ["backendRefs", "matches", "filters", "timeouts", "name"];
        for (written, meant) in [
            ("backendRef", Some("backendRefs")),
            ("mathces", Some("matches")),
            ("TIMEOUTS", Some("timeouts")),
            ("nmae", Some("name")),
            ("retry", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names).as_deref(), meant, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), names), None);
    }
}
