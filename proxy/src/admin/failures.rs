//! `GET /debug/failures`: the stories of requests that have failed of late, the last first.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::answer::Answer;
use crate::failure::Failure;
use crate::failure::view::{Clocks, FailureView};
use crate::local_reply::look_up;

/// Failures that are shown where nobody says how many.
const SHOWN: usize = 20;
/// Failures that are shown at most.
const SHOWN_MAX: usize = 1_000;

/// Which are asked for.
#[derive(Debug, Default)]
struct Asked {
    id: Option<String>,
    reason: Option<String>,
    rule: Option<String>,
    count: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Shown {
    /// Those that are kept and match.
    found: usize,
    failures: Vec<FailureView>,
}

/// Answers `query`: any of `id` (of the request, or of its trace), `reason`, `route` and `count`.
pub(super) fn answer(kept: &[Arc<Failure>], clocks: Clocks, query: &str) -> Answer {
    let asked = match Asked::read(query) {
        Ok(asked) => asked,
        Err(why) => return Answer::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let mut found: Vec<_> = kept.iter().filter(|failure| asked.matches(failure)).collect();
    found.sort_by_key(|failure| std::cmp::Reverse(failure.ended_ns));
    let count = asked.count.unwrap_or(SHOWN);
    let failures = found.iter().take(count).map(|failure| FailureView::of(failure, clocks)).collect();
    Answer::serialized(&Shown { found: found.len(), failures })
}

impl Asked {
    fn read(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "id" => asked.id = Some(value),
                "reason" if look_up(&value).is_some() => asked.reason = Some(value),
                "reason" => return Err(format!("there is no reason {value:?}; docs/ERRORS.md lists them")),
                "route" => asked.rule = Some(value),
                "count" => match value.parse() {
                    Ok(count @ 1..=SHOWN_MAX) => asked.count = Some(count),
                    _ => return Err(format!("count is {value:?}, expected a number from 1 to {SHOWN_MAX}")),
                },
                _ => {
                    return Err(format!(
                        "there is no parameter {name:?}: expected id, reason, route or count"
                    ));
                }
            }
        }
        Ok(asked)
    }

    fn matches(&self, failure: &Failure) -> bool {
        let is = |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
        let named = self
            .id
            .as_deref()
            .is_none_or(|id| failure.id == id || failure.trace.as_deref().is_some_and(|trace| trace == id));
        // `NAMESPACE/ROUTE#RULE`, or as much of it as names one.
        let route = failure.rule.split('#').next().unwrap_or_default();
        let name = route.split('/').next_back().unwrap_or_default();
        let of_route = |asked: &str| [&*failure.rule, route, name].contains(&asked);
        named && is(&self.reason, failure.reason) && self.rule.as_deref().is_none_or(of_route)
    }
}
