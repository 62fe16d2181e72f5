//! How many requests go elsewhere, and some of them.

use std::collections::HashMap;

use super::line::Asked;
use super::routes::{Outcome, Routes};
use crate::cli::output;

/// Pairs of ways that are told apart; what comes beyond them is only counted.
const PAIRS_MAX: usize = 10_000;
/// Pairs that are shown.
const PAIRS_SHOWN: usize = 50;
/// Requests that are shown of each pair.
const EXAMPLES_MAX: usize = 3;
/// Of a request, so much is shown, in characters.
const EXAMPLE_CHARS_MAX: usize = 120;

/// What differs, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Lost,
    Found,
    Backends,
    Rule,
    Settings,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Lost, "become 404"),
    (Kind::Found, "are 404 no more"),
    (Kind::Backends, "go to other backends, or in other shares"),
    (Kind::Rule, "meet another rule, for the same backends"),
    (Kind::Settings, "get other filters, timeouts or retries"),
];

#[derive(Debug)]
struct Pair {
    kind: Option<Kind>,
    count: u64,
    examples: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    pairs: HashMap<(Outcome, Outcome), Pair>,
    requests: u64,
    /// Of those, the ones that go nowhere in either version.
    lost: u64,
    counts: [u64; KINDS.len()],
}

impl Changes {
    /// A request that goes one way before and another after; `number`: of its line.
    pub(super) fn add(
        &mut self,
        ways: (Outcome, Outcome),
        before: &Routes,
        after: &Routes,
        asked: &Asked,
        number: u64,
    ) {
        self.requests += 1;
        self.lost += u64::from(matches!(ways, (Outcome::Nowhere(_), Outcome::Nowhere(_))));
        let is_full = self.pairs.len() >= PAIRS_MAX;
        let kind = match self.pairs.get_mut(&ways) {
            Some(pair) => {
                pair.count += 1;
                if pair.kind.is_some() && pair.examples.len() < EXAMPLES_MAX {
                    pair.examples.push(example(asked, number));
                }
                pair.kind
            }
            None => {
                let kind = kind(ways, before, after);
                let examples = kind.iter().map(|_| example(asked, number)).collect();
                if !is_full {
                    self.pairs.insert(ways, Pair { kind, count: 1, examples });
                }
                kind
            }
        };
        if let Some(kind) = kind {
            self.counts[kind as usize] += 1;
        }
    }

    /// Whether any request goes elsewhere.
    pub(super) fn any(&self) -> bool {
        self.counts.iter().any(|count| *count > 0)
    }

    pub(super) fn tell(&self, before: &Routes, after: &Routes) {
        output::line(&format!("before  {}\nafter   {}", before.origin, after.origin));
        let changed: u64 = self.counts.iter().sum();
        let requests = self.requests;
        let share = if requests == 0 { 0.0 } else { changed as f64 * 100.0 / requests as f64 };
        output::line(&format!("{changed} of {requests} requests change ({share:.2} %)"));
        for ((_, what), count) in KINDS.iter().zip(self.counts).filter(|(_, count)| *count > 0) {
            output::line(&format!("  {count} {what}"));
        }
        if self.lost > 0 {
            let of = if self.lost == requests {
                "None of them was looked at"
            } else {
                "The others were looked at"
            };
            output::remark(&format!(
                "{} of {requests} requests are 404 in both versions, so that nothing is known of them. {of}: is this the log of that service or gateway?",
                self.lost
            ));
        }
        let mut changed: Vec<_> =
            self.pairs.iter().filter_map(|(ways, pair)| Some((pair.kind?, *ways, pair))).collect();
        changed.sort_by_key(|(kind, ways, pair)| (*kind, std::cmp::Reverse(pair.count), *ways));
        for (_, ways, pair) in changed.iter().take(PAIRS_SHOWN) {
            output::line(&format!(
                "\n{} requests\n- {}\n+ {}",
                pair.count,
                text(ways.0, before),
                text(ways.1, after)
            ));
            pair.examples.iter().for_each(|example| output::line(&format!("  {example}")));
        }
        let more = changed.len().saturating_sub(PAIRS_SHOWN);
        if more > 0 || self.pairs.len() >= PAIRS_MAX {
            output::remark(&format!("\n{more} more changes of this sort are only counted"));
        }
    }
}

fn kind((old, new): (Outcome, Outcome), before: &Routes, after: &Routes) -> Option<Kind> {
    let (old, new) = match (old, new) {
        (Outcome::Nowhere(_), Outcome::Nowhere(_)) => return None,
        (Outcome::Rule(_), Outcome::Nowhere(_)) => return Some(Kind::Lost),
        (Outcome::Nowhere(_), Outcome::Rule(_)) => return Some(Kind::Found),
        (Outcome::Rule(old), Outcome::Rule(new)) => (before.destination(old)?, after.destination(new)?),
    };
    match () {
        () if !old.shares_equal(new) => Some(Kind::Backends),
        () if old.rule != new.rule => Some(Kind::Rule),
        () if !old.settings_equal(new) => Some(Kind::Settings),
        () => None,
    }
}

fn text(outcome: Outcome, routes: &Routes) -> String {
    match outcome {
        Outcome::Rule(number) => routes.destination(number).map(|it| it.text()).unwrap_or_default(),
        Outcome::Nowhere(why) => why.text().to_owned(),
    }
}

/// Method, host and path: a query may hold what nobody should read.
fn example(asked: &Asked, number: u64) -> String {
    let head = &asked.head;
    let whole = format!("{} {}{}", head.method(), head.authority().as_str(), head.path());
    let short: String = whole.chars().take(EXAMPLE_CHARS_MAX).collect();
    let cut = if short.len() < whole.len() { "…" } else { "" };
    format!("line {number}: {short}{cut}")
}
