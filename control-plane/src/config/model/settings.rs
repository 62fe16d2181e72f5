//! What policies set, and what that comes to.

use outrigger_snapshot::policy::{
    Backend, Balance, Breaker, BreakerWindow, CertificateName, Ejection, HealthCheck, Hedge, OnEmpty, Probe,
    Protocol, Retry, SUBSET_ENDPOINTS_MIN, Subset, ZonePreference,
};

/// What a hedge waits for where nothing is said: a share of recent answers, per cent.
const HEDGE_PERCENTILE: u32 = 95;
/// What a hedge waits at least where nothing is said.
const HEDGE_DELAY_MIN_MS: u64 = 10;

/// Healthy endpoints below which zones are not looked at, where nothing is said (Envoy's `min_cluster_size`).
const ZONE_ENDPOINTS_MIN: u32 = 6;

/// What a policy sets; `None` is left to the wider policy or the default.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) balance: Option<Balance>,
    pub(crate) connect_ms: Option<u64>,
    pub(crate) request_ms: Option<u64>,
    pub(crate) try_ms: Option<u64>,
    pub(crate) first_byte_ms: Option<u64>,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) body_stall_ms: Option<u64>,
    pub(crate) tunnel_idle_ms: Option<u64>,
    pub(crate) connections: Option<u32>,
    pub(crate) pending: Option<u32>,
    pub(crate) requests: Option<u32>,
    pub(crate) endpoint_requests: Option<u32>,
    pub(crate) on_empty: Option<OnEmpty>,
    pub(crate) retry: RetrySettings,
    pub(crate) hedge: Option<Switch<HedgeSettings>>,
    pub(crate) ejection: EjectionSettings,
    pub(crate) breaker: BreakerSettings,
    pub(crate) health_check: Option<Switch<HealthCheckSettings>>,
    pub(crate) slow_start_ms: Option<u64>,
    pub(crate) zones: ZoneSettings,
    pub(crate) subset: SubsetSettings,
    pub(crate) client_certificate: Option<CertificateName>,
}

/// What a policy says of something that is off by default.
#[derive(Debug, Clone)]
pub(crate) enum Switch<T> {
    /// It is off, whatever wider policies say.
    Off,
    /// It is on; what these leave open, wider policies say.
    On(T),
}

/// See [`ZonePreference`].
#[derive(Debug, Default)]
pub(crate) struct ZoneSettings {
    pub(crate) enabled: Option<bool>,
    pub(crate) endpoints_min: Option<u32>,
}

/// See [`Subset`].
#[derive(Debug, Default)]
pub(crate) struct SubsetSettings {
    pub(crate) enabled: Option<bool>,
    pub(crate) endpoints_min: Option<u32>,
}

/// See [`Retry`].
#[derive(Debug, Default)]
pub(crate) struct RetrySettings {
    pub(crate) attempts: Option<u32>,
    pub(crate) statuses: Option<Vec<u16>>,
    pub(crate) grpc_statuses: Option<Vec<u16>>,
    pub(crate) idempotent: Option<bool>,
    pub(crate) backoff_base_ms: Option<u64>,
    pub(crate) backoff_max_ms: Option<u64>,
    pub(crate) body_bytes_max: Option<u32>,
    pub(crate) budget_percent: Option<u32>,
    pub(crate) budget_window_ms: Option<u64>,
    /// Per 1,000 seconds.
    pub(crate) budget_floor: Option<u32>,
}

/// See [`Hedge`].
#[derive(Debug)]
pub(crate) struct HedgeSettings {
    pub(crate) percentile: Option<u32>,
    pub(crate) delay_min_ms: Option<u64>,
}

/// See [`Ejection`].
#[derive(Debug, Default)]
pub(crate) struct EjectionSettings {
    pub(crate) consecutive: Option<u32>,
    pub(crate) consecutive_local: Option<u32>,
    pub(crate) failure_percent: Option<u32>,
    pub(crate) slow_percent: Option<u32>,
    pub(crate) slow_ms: Option<u64>,
    pub(crate) requests_min: Option<u32>,
    pub(crate) window_ms: Option<u64>,
    pub(crate) deviation_permille: Option<u32>,
    pub(crate) base_ms: Option<u64>,
    pub(crate) max_ms: Option<u64>,
    pub(crate) max_percent: Option<u32>,
    pub(crate) panic_percent: Option<u32>,
}

/// See [`Breaker`].
#[derive(Debug, Default)]
pub(crate) struct BreakerSettings {
    pub(crate) failure_percent: Option<u32>,
    pub(crate) slow_percent: Option<u32>,
    pub(crate) slow_ms: Option<u64>,
    pub(crate) window: Option<BreakerWindow>,
    pub(crate) requests_min: Option<u32>,
    pub(crate) endpoints_percent: Option<u32>,
    pub(crate) open_ms: Option<u64>,
    pub(crate) open_max_ms: Option<u64>,
    pub(crate) probes: Option<u32>,
    pub(crate) successes: Option<u32>,
    pub(crate) ramp_ms: Option<u64>,
}

/// See [`HealthCheck`].
#[derive(Debug, Clone)]
pub(crate) struct HealthCheckSettings {
    pub(crate) probe: Probe,
    pub(crate) interval_ms: Option<u64>,
    pub(crate) fast_interval_ms: Option<u64>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) unhealthy: Option<u32>,
    pub(crate) healthy: Option<u32>,
    pub(crate) wait_for_first: Option<bool>,
}

impl Settings {
    /// How a port is used where these hold, the wider first; what none of them says is the default.
    pub(crate) fn effective<'a>(layers: impl IntoIterator<Item = &'a Self>, protocol: Protocol) -> Backend {
        let mut backend = Backend::defaults_for(protocol);
        let mut check: Option<HealthCheckSettings> = None;
        let (mut by_zone, mut endpoints_min) = (false, ZONE_ENDPOINTS_MIN);
        let (mut subset, mut subset_min) = (true, SUBSET_ENDPOINTS_MIN);
        for settings in layers {
            settings.apply(&mut backend);
            match &settings.health_check {
                Some(Switch::On(narrower)) => check = Some(narrower.over(check)),
                Some(Switch::Off) => check = None,
                None => {}
            }
            set(&mut by_zone, &settings.zones.enabled);
            set(&mut endpoints_min, &settings.zones.endpoints_min);
            set(&mut subset, &settings.subset.enabled);
            set(&mut subset_min, &settings.subset.endpoints_min);
        }
        backend.zone_preference = by_zone.then_some(ZonePreference { endpoints_min });
        backend.subset = subset.then_some(Subset { endpoints_min: subset_min });
        backend.health_check = check.map(HealthCheckSettings::resolved);
        backend
    }

    fn apply(&self, backend: &mut Backend) {
        set(&mut backend.balance, &self.balance);
        set(&mut backend.on_empty, &self.on_empty);
        let timeouts = &mut backend.timeouts;
        set(&mut timeouts.connect_ms, &self.connect_ms);
        set(&mut timeouts.request_ms, &self.request_ms);
        set(&mut timeouts.try_ms, &self.try_ms);
        set(&mut timeouts.first_byte_ms, &self.first_byte_ms);
        set(&mut timeouts.idle_ms, &self.idle_ms);
        set(&mut timeouts.body_stall_ms, &self.body_stall_ms);
        set(&mut timeouts.tunnel_idle_ms, &self.tunnel_idle_ms);
        let limits = &mut backend.limits;
        set(&mut limits.connections, &self.connections);
        set(&mut limits.pending, &self.pending);
        set(&mut limits.requests, &self.requests);
        set(&mut limits.endpoint_requests, &self.endpoint_requests);
        self.retry.apply(&mut backend.retry);
        match &self.hedge {
            Some(Switch::On(settings)) => {
                let hedge = backend
                    .hedge
                    .get_or_insert(Hedge { percentile: HEDGE_PERCENTILE, delay_min_ms: HEDGE_DELAY_MIN_MS });
                set(&mut hedge.percentile, &settings.percentile);
                set(&mut hedge.delay_min_ms, &settings.delay_min_ms);
            }
            Some(Switch::Off) => backend.hedge = None,
            None => {}
        }
        self.ejection.apply(&mut backend.ejection);
        self.breaker.apply(&mut backend.breaker);
        set(&mut backend.slow_start_ms, &self.slow_start_ms);
        if self.client_certificate.is_some() {
            backend.client_certificate.clone_from(&self.client_certificate);
        }
    }
}

impl RetrySettings {
    /// Whether anything is said about the budget.
    pub(crate) fn has_budget(&self) -> bool {
        self.budget_percent.is_some() || self.budget_window_ms.is_some() || self.budget_floor.is_some()
    }

    fn apply(&self, retry: &mut Retry) {
        set(&mut retry.attempts, &self.attempts);
        set(&mut retry.statuses, &self.statuses);
        set(&mut retry.grpc_statuses, &self.grpc_statuses);
        set(&mut retry.idempotent, &self.idempotent);
        set(&mut retry.backoff_base_ms, &self.backoff_base_ms);
        set(&mut retry.backoff_max_ms, &self.backoff_max_ms);
        set(&mut retry.body_bytes_max, &self.body_bytes_max);
        set(&mut retry.budget.percent, &self.budget_percent);
        set(&mut retry.budget.window_ms, &self.budget_window_ms);
        set(&mut retry.budget.floor_per_1000_s, &self.budget_floor);
    }
}

impl EjectionSettings {
    fn apply(&self, ejection: &mut Ejection) {
        set(&mut ejection.consecutive, &self.consecutive);
        set(&mut ejection.consecutive_local, &self.consecutive_local);
        set(&mut ejection.failure_percent, &self.failure_percent);
        set(&mut ejection.slow_percent, &self.slow_percent);
        set(&mut ejection.slow_ms, &self.slow_ms);
        set(&mut ejection.requests_min, &self.requests_min);
        set(&mut ejection.window_ms, &self.window_ms);
        set(&mut ejection.deviation_permille, &self.deviation_permille);
        set(&mut ejection.base_ms, &self.base_ms);
        set(&mut ejection.max_ms, &self.max_ms);
        set(&mut ejection.max_percent, &self.max_percent);
        set(&mut ejection.panic_percent, &self.panic_percent);
    }
}

impl BreakerSettings {
    fn apply(&self, breaker: &mut Breaker) {
        set(&mut breaker.failure_percent, &self.failure_percent);
        set(&mut breaker.slow_percent, &self.slow_percent);
        set(&mut breaker.slow_ms, &self.slow_ms);
        set(&mut breaker.window, &self.window);
        set(&mut breaker.requests_min, &self.requests_min);
        set(&mut breaker.endpoints_percent, &self.endpoints_percent);
        set(&mut breaker.open_ms, &self.open_ms);
        set(&mut breaker.open_max_ms, &self.open_max_ms);
        set(&mut breaker.probes, &self.probes);
        set(&mut breaker.successes, &self.successes);
        set(&mut breaker.ramp_ms, &self.ramp_ms);
    }
}

impl HealthCheckSettings {
    /// These, and where they say nothing, those of the wider policy.
    fn over(&self, wider: Option<Self>) -> Self {
        let own = self.clone();
        let Some(wider) = wider else { return own };
        Self {
            probe: own.probe,
            interval_ms: own.interval_ms.or(wider.interval_ms),
            fast_interval_ms: own.fast_interval_ms.or(wider.fast_interval_ms),
            timeout_ms: own.timeout_ms.or(wider.timeout_ms),
            unhealthy: own.unhealthy.or(wider.unhealthy),
            healthy: own.healthy.or(wider.healthy),
            wait_for_first: own.wait_for_first.or(wider.wait_for_first),
        }
    }

    /// What is not said fits what is: a probe ends before the next, and the fast interval is no slower than the other.
    fn resolved(self) -> HealthCheck {
        let mut check = HealthCheck::new(self.probe);
        set(&mut check.interval_ms, &self.interval_ms);
        let shortest_ms = self.fast_interval_ms.unwrap_or(check.interval_ms).min(check.interval_ms);
        check.timeout_ms = self.timeout_ms.unwrap_or_else(|| check.timeout_ms.min(shortest_ms));
        let fast_ms = check.fast_interval_ms.max(check.timeout_ms).min(check.interval_ms);
        check.fast_interval_ms = self.fast_interval_ms.unwrap_or(fast_ms);
        set(&mut check.unhealthy, &self.unhealthy);
        set(&mut check.healthy, &self.healthy);
        set(&mut check.wait_for_first, &self.wait_for_first);
        check
    }
}

fn set<T: Clone>(field: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}
