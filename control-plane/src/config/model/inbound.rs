//! What policies say of requests that come to a port, and what that comes to.

use outrigger_snapshot::policy::{Authorization, Inbound, InboundTls, PriorityRule, RateLimit, Shed};

use super::gateway::AuthorityRefs;

/// What a policy sets; `None` is left to the wider policy or the default.
#[derive(Debug, Default)]
pub(crate) struct InboundSettings {
    /// Whether load is shed.
    pub(crate) shed: Option<bool>,
    pub(crate) tolerance_percent: Option<u32>,
    pub(crate) exempt: Option<Vec<String>>,
    pub(crate) rate_limits: Option<Vec<RateLimit>>,
    pub(crate) trusted: Option<Vec<String>>,
    /// Whole: a narrower policy that allows one more caller must not open what a wider one has closed without saying so.
    pub(crate) authorization: Option<Authorization>,
    pub(crate) priorities: Option<Vec<PriorityRule>>,
    /// Whole: what clients are asked for must not be lost by who adds a certificate.
    pub(crate) tls: Option<InboundTls>,
    /// What `tls` names.
    pub(crate) authorities: AuthorityRefs,
}

impl InboundSettings {
    /// Whether it says who may call and nothing else.
    pub(crate) fn is_access_alone(&self) -> bool {
        let Self { shed, tolerance_percent, exempt, rate_limits, trusted, authorization, priorities, .. } =
            self;
        let other =
            shed.is_some() || tolerance_percent.is_some() || exempt.is_some() || rate_limits.is_some();
        let other = other || trusted.is_some() || priorities.is_some() || self.tls.is_some();
        authorization.is_some() && !other
    }

    /// What holds where these are set, the wider first.
    pub(crate) fn effective<'a>(layers: impl IntoIterator<Item = &'a Self>) -> Inbound {
        let Inbound { shed, mut rate_limits, mut trusted, mut authorization, mut priorities, mut tls } =
            Inbound::default();
        let (mut enabled, mut settings) = (shed.is_some(), shed.unwrap_or_default());
        for layer in layers {
            enabled = layer.shed.unwrap_or(enabled);
            settings = Shed {
                tolerance_percent: layer.tolerance_percent.or(settings.tolerance_percent),
                exempt: layer.exempt.clone().unwrap_or(settings.exempt),
            };
            rate_limits = layer.rate_limits.clone().unwrap_or(rate_limits);
            trusted = layer.trusted.clone().unwrap_or(trusted);
            priorities = layer.priorities.clone().unwrap_or(priorities);
            authorization = layer.authorization.clone().or(authorization);
            tls = layer.tls.clone().or(tls);
        }
        Inbound { shed: enabled.then_some(settings), rate_limits, trusted, authorization, priorities, tls }
    }
}
