//! Which requests someone wants to see.

use crate::local_reply::look_up;
use crate::story::Told;

/// Requests that are shown in a second where nobody says how many.
const RATE: u32 = 100;
/// Requests that are shown in a second at most.
pub const RATE_MAX: u32 = 5_000;

/// What someone wants.
#[derive(Debug)]
pub struct Asked {
    /// Which requests.
    pub filter: Filter,
    /// How many of them in a second.
    pub rate: u32,
}

/// All of it must hold.
#[derive(Debug, Default)]
pub struct Filter {
    route: Option<String>,
    service: Option<String>,
    status: Option<Status>,
    reason: Option<String>,
    method: Option<String>,
    path: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Is(u16),
    /// By the hundred.
    Class(u16),
    /// There was no answer.
    None,
}

impl Asked {
    /// Reads a query; the error is for people.
    pub fn read(query: &str) -> Result<Self, String> {
        let mut asked = Self { filter: Filter::default(), rate: RATE };
        let Self { filter, rate } = &mut asked;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "route" => filter.route = Some(value),
                "service" => filter.service = Some(value),
                "status" => filter.status = Some(Status::read(&value)?),
                "reason" if look_up(&value).is_some() => filter.reason = Some(value),
                "reason" => return Err(format!("there is no reason {value:?}; docs/ERRORS.md lists them")),
                "method" => filter.method = Some(value),
                "path" => filter.path = Some(value),
                "rate" => match value.parse() {
                    Ok(asked @ 1..=RATE_MAX) => *rate = asked,
                    _ => return Err(format!("rate is {value:?}, expected a number from 1 to {RATE_MAX}")),
                },
                _ => {
                    let expected = "route, service, status, reason, method, path or rate";
                    return Err(format!("there is no parameter {name:?}: expected {expected}"));
                }
            }
        }
        Ok(asked)
    }
}

impl Status {
    fn read(text: &str) -> Result<Self, String> {
        let class = || text.strip_suffix("xx")?.parse().ok().filter(|class| (1..=5).contains(class));
        let whole = || text.parse().ok().filter(|status| (100..=599).contains(status));
        match (text, class(), whole()) {
            ("none", ..) => Ok(Self::None),
            (_, Some(class), _) => Ok(Self::Class(class)),
            (_, _, Some(status)) => Ok(Self::Is(status)),
            _ => Err(format!("status is {text:?}, expected one like 503, 5xx, or none")),
        }
    }

    fn matches(self, status: Option<u16>) -> bool {
        match self {
            Self::None => status.is_none(),
            Self::Is(asked) => status == Some(asked),
            Self::Class(class) => status.is_some_and(|status| status / 100 == class),
        }
    }
}

impl Filter {
    pub(super) fn matches(&self, told: &Told, status: Option<u16>, reason: Option<&str>) -> bool {
        let labels = told.resolution.as_ref().map(|resolution| &resolution.stats().labels);
        let (rule, cluster) = labels.map_or(("", ""), |labels| (&*labels.rule, &*labels.cluster));
        // `NAMESPACE/ROUTE#RULE` and `NAMESPACE/SERVICE:PORT`, or as much of them as names one.
        let of_route = |asked: &String| names(asked, rule, '#');
        let of_service = |asked: &String| names(asked, cluster, ':');
        self.status.is_none_or(|asked| asked.matches(status))
            && self.route.as_ref().is_none_or(of_route)
            && self.service.as_ref().is_none_or(of_service)
            && self.reason.as_deref().is_none_or(|asked| Some(asked) == reason)
            && self.method.as_ref().is_none_or(|asked| asked.eq_ignore_ascii_case(&told.method()))
            && self.path.as_ref().is_none_or(|asked| told.path().starts_with(asked))
    }
}

/// Whether `asked` is `whole`, that up to `end`, or the name in that.
pub(super) fn names(asked: &str, whole: &str, end: char) -> bool {
    let named = whole.split(end).next().unwrap_or_default();
    !whole.is_empty() && [whole, named, named.split('/').next_back().unwrap_or_default()].contains(&asked)
}
