//! What was tried on the way to a rule, and why it did not match, in words.

use http::HeaderName;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{RouteMatch, TextMatch, ValueMatch};
use outrigger_snapshot::router::{Trial, Unmet};

use super::verdict::match_text;

/// Matches of another path that are listed one by one; the others are only counted.
const LISTED: usize = 20;
/// Of what a request carries, so much is repeated, in characters.
const SHOWN: usize = 80;

/// What did not match, each in a line, in the order of trying.
pub(super) fn unmet(trials: &[Trial<'_>], head: &RequestHead) -> Vec<String> {
    let (mut lines, mut others) = (Vec::new(), 0);
    let mut elsewhere = 0;
    for trial in trials {
        let Some(why) = trial.unmet else { continue };
        // Those for the very path are what people look for; of others there may be thousands.
        elsewhere += usize::from(why == Unmet::Path);
        if why == Unmet::Path && elsewhere > LISTED {
            others += 1;
            continue;
        }
        let (name, asked) = (&trial.rule.name, match_text(trial.route_match));
        lines.push(format!("{name}: {asked} ({})", reason(trial.route_match, why, head)));
    }
    if others > 0 {
        lines.push(format!("{others} more for other paths"));
    }
    lines
}

fn reason(route_match: &RouteMatch, unmet: Unmet, head: &RequestHead) -> String {
    match unmet {
        Unmet::Path => format!("not met: the path is {}", short(head.path())),
        Unmet::Method => format!("not met: the method is {}", head.method()),
        Unmet::Header(index) => {
            let asked = route_match.headers.get(index);
            let found = asked.and_then(|asked| HeaderName::from_bytes(asked.name.as_bytes()).ok());
            let found: Option<Vec<String>> = found.map(|name| {
                head.headers_named(&name)
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                    .collect()
            });
            let found = found.filter(|found| !found.is_empty()).map(|found| found.join(", "));
            value_reason("header", asked, found)
        }
        Unmet::Query(index) => {
            let asked = route_match.query.get(index);
            let pairs = || url::form_urlencoded::parse(head.query().unwrap_or_default().as_bytes());
            let found = asked.and_then(|asked| {
                pairs().find(|(name, _)| *name == asked.name).map(|(_, value)| value.into_owned())
            });
            value_reason("parameter", asked, found)
        }
    }
}

fn value_reason(what: &str, asked: Option<&ValueMatch>, found: Option<String>) -> String {
    let Some(ValueMatch { name, value }) = asked else { return "not met".to_owned() };
    match (found, value) {
        (None, _) => format!("not met: there is no {what} {name}"),
        (Some(found), TextMatch::Exact(_)) => format!("not met: {what} {name} is {:?}", short(&found)),
        (Some(found), TextMatch::Regex(_)) => {
            format!("not met: {what} {name} is {:?}, which does not match", short(&found))
        }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
