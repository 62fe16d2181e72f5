//! `URLRewrite`: another host or path for the upstream.

use http::uri::PathAndQuery;
use outrigger_snapshot::head::{Authority, RequestHead};
use outrigger_snapshot::policy::{self, PathEdit};

use crate::chain::FilterError;
use crate::context::Context;

/// Changes what the upstream sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    host: Option<Authority>,
    path: Option<PathEdit>,
}

impl Rewrite {
    pub(crate) fn build(rewrite: &policy::Rewrite) -> Result<Self, FilterError> {
        let host =
            rewrite.host.as_ref().map(|host| host.parse().map_err(|_| FilterError::Host(host.clone())));
        if let Some(PathEdit::Full(path) | PathEdit::Prefix(path)) = &rewrite.path {
            check_path(path)?;
        }
        Ok(Self { host: host.transpose()?, path: rewrite.path.clone() })
    }

    pub(crate) fn on_request(&self, head: &mut RequestHead, context: &mut Context) {
        if let Some(path) = edited_path(self.path.as_ref(), head, context)
            && let Ok(path) = path.parse::<PathAndQuery>()
        {
            head.set_path_and_query(path);
            context.prefix_bytes = None;
        }
        if let Some(host) = &self.host {
            head.set_authority(host.clone());
        }
    }
}

pub(crate) fn check_path(path: &str) -> Result<(), FilterError> {
    let valid = path.is_empty()
        || (path.starts_with('/') && !path.contains(['?', '#']) && path.parse::<PathAndQuery>().is_ok());
    if valid { Ok(()) } else { Err(FilterError::Path(path.to_owned())) }
}

/// Path and query after an edit; `None`: they stay.
pub(crate) fn edited_path(edit: Option<&PathEdit>, head: &RequestHead, context: &Context) -> Option<String> {
    let mut path = match edit? {
        PathEdit::Full(path) => path.clone(),
        PathEdit::Prefix(prefix) => {
            let rest = head.path().get(context.prefix_bytes?..)?;
            // `/a` with the prefix `/a` replaced by `/` is `/`, and `/a/b` is `/b`: never `//b`, never empty.
            match prefix.trim_end_matches('/') {
                "" if rest.is_empty() => "/".to_owned(),
                prefix => format!("{prefix}{rest}"),
            }
        }
    };
    if path.is_empty() {
        path.push('/');
    }
    if let Some(query) = head.query() {
        path.push('?');
        path.push_str(query);
    }
    Some(path)
}
