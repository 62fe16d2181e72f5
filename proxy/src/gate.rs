//! Who may come in: requests and connections that meet access rules, counted where they are denied or would be.

use std::net::IpAddr;
use std::sync::Arc;

use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{Access, Authorization, Conditions, Inbound, Mtls, PriorityRule, Subject};

use crate::caller::Caller;
use crate::complaint::Complaint;
use crate::error::ProxyError;
use crate::local_reply::{ROWS, row_index};
use crate::telemetry::metrics::{Direction, WorkerStats};
use crate::termination::TlsListener;

/// Who may come in, and what matters how much.
#[derive(Debug, Clone)]
pub struct Gate {
    /// What is asked of callers; `None`: nothing, since this proxy has no identity, or strangers call.
    pub mtls: Option<Mtls>,
    /// How TLS with clients outside the mesh is ended; `None`: it is not.
    pub tls: Option<InboundTls>,
    /// Who may call what.
    authorization: Option<Authorization>,
    /// How much requests matter, whatever their callers say.
    priorities: Box<[PriorityRule]>,
    /// Whether any rule is about addresses.
    by_source: bool,
}

/// TLS with clients outside the mesh that ends beside the workload.
#[derive(Debug, Clone)]
pub struct InboundTls {
    /// What is shown, and asked.
    pub listener: Arc<TlsListener>,
    /// Whether requests in the clear are let in, too.
    pub cleartext: bool,
}

impl Gate {
    /// What is asked of callers; `None`: nothing.
    pub fn new(inbound: &Inbound, mtls: Option<Mtls>, tls: Option<InboundTls>) -> Option<Box<Self>> {
        let authorization = inbound.authorization.clone();
        let priorities: Box<[_]> = inbound.priorities.clone().into();
        let access = authorization.iter().flat_map(|authorization| &authorization.rules);
        let about = access.map(|rule| &rule.about).chain(priorities.iter().map(|rule| &rule.about));
        let by_source = { about }.any(|about: &Conditions| !about.sources.is_empty());
        let asks = mtls.is_some() || tls.is_some() || authorization.is_some() || !priorities.is_empty();
        asks.then(|| Box::new(Self { mtls, tls, authorization, priorities, by_source }))
    }

    /// Whether a request may come in at all, and how much it matters, if that is for this side to say. One without a caller may still have come
    /// inside TLS. `is_probe` is asked whether it is a health check, and `source` where it came from, if that decides.
    pub fn request(
        &self,
        stats: &WorkerStats,
        caller: Option<&Caller>,
        inside_tls: bool,
        is_probe: impl FnOnce() -> bool,
        head: &RequestHead,
        source: impl Fn() -> Option<IpAddr>,
    ) -> Result<Option<u8>, ProxyError> {
        if caller.is_none() {
            let in_clear = !inside_tls;
            if in_clear && (self.mtls.is_some() || self.tls.is_some()) {
                stats.plaintext_requests.add(1);
            }
            if self.mtls == Some(Mtls::Strict) {
                return Err(told(ProxyError::IdentityRequired, None, source()));
            }
            // Or callers without identity would take the workload for ill, and never hear what is asked of them.
            if in_clear && self.tls.as_ref().is_some_and(|tls| !tls.cleartext) && !is_probe() {
                return Err(ProxyError::TlsRequired);
            }
        }
        let identity = caller.map(|caller| &*caller.identity);
        let known = if self.by_source { source() } else { None };
        let subject = Subject::new(identity, head.method().as_str(), head.path()).at(known);
        match self.verdict(&subject) {
            Verdict::Fine => {}
            Verdict::Counted => stats.denied_dry.add(1),
            Verdict::Denied(error) => {
                stats.denied.add(1);
                return Err(told(error, caller, source()));
            }
        }
        Ok(self.priorities.iter().find(|rule| rule.about.hold(&subject)).map(|rule| rule.priority))
    }

    /// Whether a connection that is not looked into may be opened at all.
    pub fn connection(
        &self,
        stats: &WorkerStats,
        caller: Option<&Caller>,
        source: IpAddr,
    ) -> Result<(), ProxyError> {
        if caller.is_none() && self.mtls.is_some() {
            stats.plaintext_connections.add(1);
            if self.mtls == Some(Mtls::Strict) {
                return Err(told(ProxyError::IdentityRequired, None, Some(source)));
            }
        }
        let subject = Subject::of_connection(caller.map(|caller| &*caller.identity)).at(Some(source));
        match self.verdict(&subject) {
            Verdict::Fine => Ok(()),
            Verdict::Counted => {
                stats.denied_connections_dry.add(1);
                Ok(())
            }
            Verdict::Denied(error) => {
                stats.denied_connections.add(1);
                Err(told(error, caller, Some(source)))
            }
        }
    }

    fn verdict(&self, subject: &Subject<'_>) -> Verdict {
        let Some(authorization) = &self.authorization else { return Verdict::Fine };
        match authorization.decide(subject) {
            (Access::Allow, _) => Verdict::Fine,
            (Access::Deny, _) if authorization.dry_run => Verdict::Counted,
            (Access::Deny, by) => {
                Verdict::Denied(ProxyError::Denied { rule: by.map(|rule| rule.name.clone()) })
            }
        }
    }
}

/// Has people told who is not let in.
fn told(error: ProxyError, caller: Option<&Caller>, address: Option<IpAddr>) -> ProxyError {
    let identity = caller.map(|caller| caller.identity.as_str());
    let (reason, serial) = (ROWS[row_index(&error)].reason, caller.map(|caller| &*caller.peer.serial));
    let complaint =
        Complaint { direction: Direction::Inbound, reason, address, identity, is_proved: true, serial };
    complaint.tell(&error);
    error
}

/// What access rules say.
enum Verdict {
    Fine,
    /// It would be denied, were the rules in force.
    Counted,
    Denied(ProxyError),
}
