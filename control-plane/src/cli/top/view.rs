//! What happened between two looks at proxies.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::names;
use super::scrape::samples;

/// What one look has seen, of all proxies together.
#[derive(Debug, Default)]
pub(super) struct Look {
    routes: BTreeMap<RouteKey, Route>,
    endpoints: BTreeMap<(String, String), Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RouteKey {
    direction: String,
    rule: String,
    cluster: String,
}

#[derive(Debug, Default, Clone)]
struct Route {
    requests: f64,
    failed: f64,
    in_flight: f64,
    /// By upper bound in microseconds, counted up to it.
    buckets: BTreeMap<u64, f64>,
}

#[derive(Debug, Default, Clone)]
struct Endpoint {
    requests: f64,
    failed: f64,
    in_flight: u64,
    cost_ms: Option<f64>,
    health: String,
}

/// A cluster, as `/clusters` has it.
#[derive(Debug, Deserialize)]
pub(super) struct ClusterView {
    name: String,
    endpoints: Vec<EndpointView>,
}

#[derive(Debug, Deserialize)]
struct EndpointView {
    address: String,
    in_flight: u64,
    #[serde(default)]
    requests: f64,
    #[serde(default)]
    failures: f64,
    health: String,
    cost_ms: Option<f64>,
}

impl Look {
    /// Adds what one proxy says.
    pub(super) fn add(&mut self, metrics: &str, clusters: &[ClusterView]) {
        for cluster in clusters {
            for view in &cluster.endpoints {
                let endpoint = self.endpoint(&cluster.name, &view.address);
                endpoint.in_flight += view.in_flight;
                endpoint.requests += view.requests;
                endpoint.failed += view.failures;
                endpoint.cost_ms = [endpoint.cost_ms, view.cost_ms].into_iter().flatten().reduce(f64::max);
                // Of several opinions, one that something is wrong.
                if endpoint.health.is_empty() || endpoint.health == "healthy" {
                    endpoint.health.clone_from(&view.health);
                }
            }
        }
        for sample in samples(metrics) {
            let value = sample.value;
            let label = |name: &str| sample.label(name);
            let way = |names: [(&str, &'static str); 2]| {
                names.into_iter().find(|(name, _)| *name == sample.name).map(|(_, direction)| direction)
            };
            if sample.name == names::REQUESTS {
                let route = self.route(label(names::DIRECTION), label);
                route.requests += value;
                if names::FAILED.contains(&label(names::CLASS)) {
                    route.failed += value;
                }
            } else if let Some(direction) = way(names::IN_FLIGHT) {
                self.route(direction, label).in_flight += value;
            } else if let Some(direction) = way(names::DURATION_BUCKET) {
                let bound = label(names::BOUND).parse().map_or(u64::MAX, micros);
                *self.route(direction, label).buckets.entry(bound).or_default() += value;
            }
        }
    }

    fn route<'a>(&mut self, direction: &str, label: impl Fn(&str) -> &'a str) -> &mut Route {
        let [rule, cluster] = [names::RULE, names::CLUSTER].map(|name| label(name).to_owned());
        let direction = direction.to_owned();
        self.routes.entry(RouteKey { direction, rule, cluster }).or_default()
    }

    fn endpoint(&mut self, cluster: &str, address: &str) -> &mut Endpoint {
        self.endpoints.entry((cluster.to_owned(), address.to_owned())).or_default()
    }

    /// Routes, the busiest first, by what was counted in the `seconds` since `before`.
    pub(super) fn route_rows(&self, before: &Self, seconds: f64) -> Vec<Vec<String>> {
        let none = Route::default();
        let mut rows: Vec<_> = self
            .routes
            .iter()
            .map(|(key, now)| {
                let was = before.routes.get(key).unwrap_or(&none);
                let (requests, failed) = (since(now.requests, was.requests), since(now.failed, was.failed));
                let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
                let quantile = |q| quantile(&now.buckets, &was.buckets, q);
                let row = vec![
                    shown(&key.rule),
                    key.direction.clone(),
                    shown(&key.cluster),
                    rate(requests, seconds),
                    success(requests, failed),
                    quantile(0.5),
                    quantile(0.99),
                    format!("{:.0}", now.in_flight),
                ];
                (requests, row)
            })
            .collect();
        rows.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Endpoints, the busiest first, in the same way.
    pub(super) fn endpoint_rows(&self, before: &Self, seconds: f64) -> Vec<Vec<String>> {
        let none = Endpoint::default();
        let mut rows: Vec<_> = self
            .endpoints
            .iter()
            .map(|(key, now)| {
                let was = before.endpoints.get(key).unwrap_or(&none);
                let (requests, failed) = (since(now.requests, was.requests), since(now.failed, was.failed));
                let row = vec![
                    key.1.clone(),
                    key.0.clone(),
                    rate(requests, seconds),
                    success(requests, failed),
                    now.cost_ms.map_or_else(|| "-".to_owned(), |ms| span(ms * 1_000.0)),
                    now.in_flight.to_string(),
                    if now.health.is_empty() { "gone".to_owned() } else { now.health.clone() },
                ];
                (requests, row)
            })
            .collect();
        rows.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

fn micros(seconds: f64) -> u64 {
    if seconds.is_finite() { (seconds * 1e6).round() as u64 } else { u64::MAX }
}

/// What was counted since; a process that has started anew counts from nothing.
fn since(now: f64, was: f64) -> f64 {
    if now < was { now } else { now - was }
}

fn rate(count: f64, seconds: f64) -> String {
    format!("{:.1}", count / seconds.max(1e-9))
}

fn success(requests: f64, failed: f64) -> String {
    if requests <= 0.0 {
        return "-".to_owned();
    }
    format!("{:.2} %", (requests - failed).max(0.0) * 100.0 / requests)
}

/// The quantile of what was counted since, as far as bounds tell it.
fn quantile(now: &BTreeMap<u64, f64>, was: &BTreeMap<u64, f64>, q: f64) -> String {
    let counted = |bound: &u64, count: &f64| since(*count, was.get(bound).copied().unwrap_or_default());
    let Some(total) =
        now.last_key_value().map(|(bound, count)| counted(bound, count)).filter(|all| *all > 0.0)
    else {
        return "-".to_owned();
    };
    let (rank, mut low, mut below) = (total * q, 0, 0.0);
    for (bound, count) in now {
        let upto = counted(bound, count);
        if upto >= rank {
            let part = if upto > below { (rank - below) / (upto - below) } else { 1.0 };
            return match *bound {
                u64::MAX => format!("> {}", span(low as f64)),
                bound => span(low as f64 + part * (bound - low) as f64),
            };
        }
        (low, below) = (*bound, upto);
    }
    "-".to_owned()
}

/// Microseconds, as people say them.
fn span(micros: f64) -> String {
    match micros {
        micros if micros < 1e6 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(requests: [u64; 2], buckets: [u64; 3]) -> Look {
        let labels = "rule=\"a/web#0\",cluster=\"a/cart:80\"";
        let metrics = format!(
            "outrigger_requests_total{{direction=\"outbound\",{labels},code_class=\"2xx\"}} {}\n\
             outrigger_requests_total{{direction=\"outbound\",{labels},code_class=\"5xx\"}} {}\n\
             http_client_active_requests{{{labels}}} 3\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"0.001\"}} {}\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"0.01\"}} {}\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}\n\
             ",
            requests[0], requests[1], buckets[0], buckets[1], buckets[2]
        );
        let clusters = format!(
            r#"[{{"name":"a/cart:80","endpoints":[
            {{"address":"127.0.0.1:1","in_flight":2,"requests":{},"failures":{},"health":"healthy","cost_ms":1.5}},
            {{"address":"127.0.0.1:2","in_flight":0,"requests":0,"failures":0,"health":"ejected","cost_ms":null}}]}}]"#,
            requests[0], requests[1]
        );
        let mut look = Look::default();
        look.add(&metrics, &serde_json::from_str::<Vec<ClusterView>>(&clusters).unwrap());
        look
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let (was, now) = (look([100, 0], [100, 100, 100]), look([190, 10], [150, 190, 200]));
        let rows = now.route_rows(&was, 2.0);
        assert_eq!(
            rows[0],
            ["a/web#0", "outbound", "a/cart:80", "50.0", "90.00 %", "1.0 ms", "> 10.0 ms", "3"]
        );
        let rows = now.endpoint_rows(&was, 2.0);
        assert_eq!(rows[0], ["127.0.0.1:1", "a/cart:80", "45.0", "88.89 %", "1.5 ms", "2", "healthy"]);
        assert_eq!(rows[1][2..], ["0.0", "-", "-", "0", "ejected"]);
    }

    #[test]
    fn a_process_that_started_anew_counts_from_nothing() {
        let (was, now) = (look([100, 0], [100, 100, 100]), look([20, 0], [0, 20, 20]));
        let row = &now.route_rows(&was, 2.0)[0];
        assert_eq!((row[3].as_str(), row[5].as_str()), ("10.0", "5.5 ms"));
    }
}
