//! What happened between two looks at proxies.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::names;
use super::scrape::samples;

/// What one look has seen, of each proxy that answered.
#[derive(Debug, Default)]
pub(super) struct Look(BTreeMap<String, Page>);

/// What one proxy says.
#[derive(Debug, Default)]
struct Page {
    routes: BTreeMap<RouteKey, Route>,
    endpoints: BTreeMap<EndpointKey, Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RouteKey {
    direction: String,
    rule: String,
    cluster: String,
}

/// A cluster, and an address.
type EndpointKey = (String, String);

/// Counts by upper bound in microseconds, each of all up to it.
type Buckets = BTreeMap<u64, f64>;

#[derive(Debug, Default)]
struct Route {
    requests: f64,
    failed: f64,
    in_flight: f64,
    /// By what its requests are told apart by: each is a series, which may be away for a while.
    kinds: BTreeMap<String, Buckets>,
}

#[derive(Debug, Default)]
struct Endpoint {
    requests: f64,
    failed: f64,
    in_flight: u64,
    cost_ms: Option<f64>,
    health: String,
}

/// What happened between two looks, of all proxies together.
#[derive(Debug, Default)]
struct Change {
    /// Requests, and those of them that failed; `None`: nothing was there before to compare with.
    counted: Option<(f64, f64)>,
    in_flight: f64,
    buckets: Buckets,
    cost_ms: Option<f64>,
    health: String,
}

impl Change {
    /// Of something that had counted so much, if it was there, and now so much.
    fn count(&mut self, was: Option<(f64, f64)>, now: (f64, f64)) {
        if let Some(was) = was {
            let (requests, failed) = self.counted.unwrap_or_default();
            self.counted = Some((requests + since(now.0, was.0), failed + since(now.1, was.1)));
        }
    }

    fn requests(&self) -> f64 {
        self.counted.map_or(0.0, |(requests, _)| requests)
    }

    fn rate(&self, seconds: f64) -> String {
        let rate = |(requests, _): (f64, f64)| format!("{:.1}", requests / seconds.max(1e-9));
        self.counted.map_or_else(|| "-".to_owned(), rate)
    }

    fn success(&self) -> String {
        match self.counted {
            Some((requests, failed)) if requests > 0.0 => {
                format!("{:.2} %", (requests - failed).max(0.0) * 100.0 / requests)
            }
            _ => "-".to_owned(),
        }
    }
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
    pub(super) fn add(&mut self, proxy: &str, metrics: &str, clusters: &[ClusterView]) {
        let page = self.0.entry(proxy.to_owned()).or_default();
        page.read_clusters(clusters);
        page.read_metrics(metrics);
    }

    /// Routes, the busiest first, by what was counted in the `seconds` since `before`.
    pub(super) fn route_rows(&self, before: &Self, seconds: f64) -> Vec<Vec<String>> {
        let mut changes = BTreeMap::<&RouteKey, Change>::new();
        for (proxy, page) in &self.0 {
            for (key, now) in &page.routes {
                let was = before.0.get(proxy).and_then(|page| page.routes.get(key));
                let change = changes.entry(key).or_default();
                change.count(was.map(|was| (was.requests, was.failed)), (now.requests, now.failed));
                change.in_flight += now.in_flight;
                for (kind, buckets) in &now.kinds {
                    let was = was.and_then(|was| was.kinds.get(kind));
                    for (bound, count) in was.into_iter().flat_map(|_| buckets) {
                        let was = was.and_then(|was| was.get(bound)).copied().unwrap_or_default();
                        *change.buckets.entry(*bound).or_default() += since(*count, was);
                    }
                }
            }
        }
        let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        rows(changes, |key, change| {
            vec![
                shown(&key.rule),
                key.direction.clone(),
                shown(&key.cluster),
                change.rate(seconds),
                change.success(),
                quantile(&change.buckets, 0.5),
                quantile(&change.buckets, 0.99),
                format!("{:.0}", change.in_flight),
            ]
        })
    }

    /// Endpoints, the busiest first, in the same way.
    pub(super) fn endpoint_rows(&self, before: &Self, seconds: f64) -> Vec<Vec<String>> {
        let mut changes = BTreeMap::<&EndpointKey, Change>::new();
        for (proxy, page) in &self.0 {
            for (key, now) in &page.endpoints {
                let was = before.0.get(proxy).and_then(|page| page.endpoints.get(key));
                let change = changes.entry(key).or_default();
                change.count(was.map(|was| (was.requests, was.failed)), (now.requests, now.failed));
                change.in_flight += now.in_flight as f64;
                change.cost_ms = [change.cost_ms, now.cost_ms].into_iter().flatten().reduce(f64::max);
                // Of several opinions, one that something is wrong.
                if change.health.is_empty() || change.health == "healthy" {
                    change.health.clone_from(&now.health);
                }
            }
        }
        rows(changes, |(cluster, address), change| {
            vec![
                address.clone(),
                cluster.clone(),
                change.rate(seconds),
                change.success(),
                change.cost_ms.map_or_else(|| "-".to_owned(), |ms| span(ms * 1_000.0)),
                format!("{:.0}", change.in_flight),
                if change.health.is_empty() { "gone".to_owned() } else { change.health.clone() },
            ]
        })
    }
}

impl Page {
    fn read_clusters(&mut self, clusters: &[ClusterView]) {
        for cluster in clusters {
            for view in &cluster.endpoints {
                let key = (cluster.name.clone(), view.address.clone());
                let endpoint = self.endpoints.entry(key).or_default();
                endpoint.in_flight += view.in_flight;
                endpoint.requests += view.requests;
                endpoint.failed += view.failures;
                endpoint.cost_ms = view.cost_ms;
                endpoint.health.clone_from(&view.health);
            }
        }
    }

    fn read_metrics(&mut self, metrics: &str) {
        for sample in samples(metrics) {
            let value = sample.value;
            let label = |name: &str| sample.label(name);
            let way = |names: [(&str, &'static str); 2]| {
                names.into_iter().find(|(name, _)| *name == sample.name).map(|(_, direction)| direction)
            };
            if sample.name == names::REQUESTS {
                self.route(label(names::DIRECTION), label).requests += value;
            } else if sample.name == names::FAILURES {
                if names::counts(label(names::FAULT), label(names::REASON)) {
                    self.route(label(names::DIRECTION), label).failed += value;
                }
            } else if let Some(direction) = way(names::IN_FLIGHT) {
                self.route(direction, label).in_flight += value;
            } else if let Some(direction) = way(names::DURATION_BUCKET) {
                let bound = label(names::BOUND).parse().map_or(u64::MAX, micros);
                let kind =
                    self.route(direction, label).kinds.entry(sample.without(names::BOUND)).or_default();
                *kind.entry(bound).or_default() += value;
            }
        }
    }

    fn route<'a>(&mut self, direction: &str, label: impl Fn(&str) -> &'a str) -> &mut Route {
        let [rule, cluster] = [names::RULE, names::CLUSTER].map(|name| label(name).to_owned());
        let direction = direction.to_owned();
        self.routes.entry(RouteKey { direction, rule, cluster }).or_default()
    }
}

/// A row of each, the busiest first.
fn rows<K>(changes: BTreeMap<&K, Change>, row: impl Fn(&K, &Change) -> Vec<String>) -> Vec<Vec<String>> {
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_by(|(_, one), (_, other)| other.requests().total_cmp(&one.requests()));
    changes.into_iter().map(|(key, change)| row(key, &change)).collect()
}

fn micros(seconds: f64) -> u64 {
    if seconds.is_finite() { (seconds * 1e6).round() as u64 } else { u64::MAX }
}

/// What was counted since; a process that has started anew counts from nothing.
fn since(now: f64, was: f64) -> f64 {
    if now < was { now } else { now - was }
}

/// The quantile of what was counted, as far as bounds tell it.
fn quantile(buckets: &Buckets, q: f64) -> String {
    let Some(total) = buckets.last_key_value().map(|(_, all)| *all).filter(|all| *all > 0.0) else {
        return "-".to_owned();
    };
    let (rank, mut low, mut below) = (total * q, 0, 0.0);
    for (bound, upto) in buckets {
        if *upto >= rank {
            let part = if *upto > below { (rank - below) / (upto - below) } else { 1.0 };
            return match *bound {
                u64::MAX => format!("> {}", span(low as f64)),
                bound => span(low as f64 + part * (bound - low) as f64),
            };
        }
        (low, below) = (*bound, *upto);
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

    /// What a proxy says that has answered so many requests, failed so many of them, and took so long: up to 1 ms, up to 10 ms, at all.
    fn said(requests: u64, failed: u64, buckets: [u64; 3]) -> (String, Vec<ClusterView>) {
        let labels = "rule=\"a/web#0\",cluster=\"a/cart:80\"";
        let metrics = format!(
            "outrigger_requests_total{{direction=\"outbound\",{labels},code_class=\"2xx\"}} {requests}\n\
             outrigger_request_failures_total{{direction=\"outbound\",{labels},reason=\"upstream_grpc_status\",fault=\"upstream\"}} {failed}\n\
             outrigger_request_failures_total{{direction=\"outbound\",{labels},reason=\"rate_limited\",fault=\"client\"}} 1{failed}\n\
             http_client_active_requests{{{labels}}} 3\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"0.001\"}} {}\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"0.01\"}} {}\n\
             http_client_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}\n\
             ",
            buckets[0], buckets[1], buckets[2]
        );
        let clusters = format!(
            r#"[{{"name":"a/cart:80","endpoints":[
            {{"address":"127.0.0.1:1","in_flight":2,"requests":{requests},"failures":{failed},"health":"healthy","cost_ms":1.5}},
            {{"address":"127.0.0.1:2","in_flight":0,"requests":0,"failures":0,"health":"ejected","cost_ms":null}}]}}]"#,
        );
        (metrics, serde_json::from_str(&clusters).unwrap())
    }

    /// A look at proxies of these names that have answered so many requests within a millisecond.
    fn quick(proxies: &[(&str, u64)]) -> Look {
        let mut look = Look::default();
        for (proxy, requests) in proxies {
            let (metrics, clusters) = said(*requests, 0, [*requests; 3]);
            look.add(proxy, &metrics, &clusters);
        }
        look
    }

    fn look(requests: u64, failed: u64, buckets: [u64; 3]) -> Look {
        let (mut look, (metrics, clusters)) = (Look::default(), said(requests, failed, buckets));
        look.add("one", &metrics, &clusters);
        look
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let (was, now) = (look(100, 0, [100, 100, 100]), look(200, 10, [150, 190, 200]));
        let rows = now.route_rows(&was, 2.0);
        assert_eq!(
            rows[0],
            ["a/web#0", "outbound", "a/cart:80", "50.0", "90.00 %", "1.0 ms", "> 10.0 ms", "3"]
        );
        let rows = now.endpoint_rows(&was, 2.0);
        assert_eq!(rows[0], ["127.0.0.1:1", "a/cart:80", "50.0", "90.00 %", "1.5 ms", "2", "healthy"]);
        assert_eq!(rows[1][2..], ["0.0", "-", "-", "0", "ejected"]);
    }

    #[test]
    fn a_process_that_started_anew_counts_from_nothing() {
        let (was, now) = (look(100, 0, [100, 100, 100]), look(20, 0, [0, 20, 20]));
        let row = &now.route_rows(&was, 2.0)[0];
        assert_eq!((row[3].as_str(), row[5].as_str()), ("10.0", "5.5 ms"));
    }

    #[test]
    fn a_proxy_that_goes_or_comes_back_is_no_burst() {
        let both = quick(&[("one", 1_000), ("two", 2_000)]);
        for (was, now) in [
            (&both, quick(&[("one", 1_020)])),
            (&quick(&[("one", 1_000)]), quick(&[("one", 1_020), ("two", 2_500)])),
        ] {
            assert_eq!(now.route_rows(was, 2.0)[0][3], "10.0");
            assert_eq!(now.endpoint_rows(was, 2.0)[0][2], "10.0");
        }
        let later = quick(&[("one", 1_040), ("two", 2_020)]);
        assert_eq!(later.route_rows(&both, 2.0)[0][3], "30.0", "rates add up");
    }

    #[test]
    fn what_is_seen_for_the_first_time_has_no_rate_yet() {
        let mut away = Look::default();
        away.add("one", "", &[]);
        let row = &quick(&[("one", 1_000)]).route_rows(&away, 2.0)[0];
        assert_eq!(row[3..7], ["-", "-", "-", "-"], "it may have been idle for long");
        // One kind of its requests has been away.
        let (metrics, clusters) = said(100, 0, [100; 3]);
        let (mut was, mut now) = (Look::default(), Look::default());
        was.add("one", &metrics, &clusters);
        let (metrics, clusters) = said(110, 0, [110; 3]);
        let slow = "http_client_request_duration_seconds_bucket{rule=\"a/web#0\",cluster=\"a/cart:80\",error_type=\"500\",le=\"+Inf\"} 900\n";
        now.add("one", &format!("{metrics}{slow}"), &clusters);
        let row = &now.route_rows(&was, 2.0)[0];
        assert_eq!((row[3].as_str(), row[6].as_str()), ("5.0", "1.0 ms"));
    }
}
