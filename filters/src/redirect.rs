//! `RequestRedirect`: an answer in place of the upstream's.

use http::StatusCode;
use http::header::HeaderValue;
use outrigger_snapshot::head::{Authority, RequestHead};
use outrigger_snapshot::policy;

use crate::chain::FilterError;
use crate::context::{Answer, Context};
use crate::rewrite::edited_path;

/// Sends the client elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    status: StatusCode,
    scheme: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    path: Option<policy::PathEdit>,
}

impl Redirect {
    pub(crate) fn build(redirect: &policy::Redirect) -> Result<Self, FilterError> {
        let status = StatusCode::from_u16(redirect.status)
            .ok()
            .filter(StatusCode::is_redirection)
            .ok_or(FilterError::Status(redirect.status))?;
        if let Some(host) = &redirect.host {
            host.parse::<Authority>().map_err(|_| FilterError::Host(host.clone()))?;
        }
        if let Some(scheme) = redirect.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https"))
        {
            return Err(FilterError::Scheme(scheme.to_owned()));
        }
        Ok(Self {
            status,
            scheme: redirect.scheme.clone(),
            host: redirect.host.clone(),
            port: redirect.port,
            path: redirect.path.clone(),
        })
    }

    pub(crate) fn answer(&self, head: &RequestHead, context: &Context) -> Answer {
        let requested = if context.tls { "https" } else { "http" };
        let scheme = self.scheme.as_deref().unwrap_or(requested);
        let host = self.host.as_deref().unwrap_or(head.authority().host());
        // A new scheme means that scheme's own port, else the one that the request came to (Gateway API,
        // HTTPRequestRedirectFilter.port); a well-known port is not spelled out.
        let port = self.port.or_else(|| if self.scheme.is_some() { None } else { head.authority().port() });
        let well_known = match scheme {
            "https" => 443,
            _ => 80,
        };
        let port = port.filter(|port| *port != well_known).map(|port| format!(":{port}")).unwrap_or_default();
        let path = edited_path(self.path.as_ref(), head, context);
        let path = path.as_deref().unwrap_or(head.path_and_query().as_str());
        // Every part was checked to be of characters that a header may have; without a location the client still sees the status.
        let location = HeaderValue::from_str(&format!("{scheme}://{host}{port}{path}")).ok();
        Answer { status: self.status, location }
    }
}
