//! What each feature costs a request that it lets pass, in nanoseconds: the machines alone, in one thread, without the network around them.
//!
//! `cargo bench -p outrigger-proxy --profile quick --bench features`. The least of several rounds is printed, as others are of the machine's
//! own making; compare lines of one run.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use outrigger_filters::{Context, FilterChain, RateLimits};
use outrigger_proxy::access_log::{self, AccessLog, Format};
use outrigger_proxy::clock;
use outrigger_proxy::cluster::balance::{EndpointSet, Entry};
use outrigger_proxy::cluster::breaker::{Admit, ClusterBreaker};
use outrigger_proxy::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use outrigger_proxy::lineage::{Inheritance, Lineages};
use outrigger_proxy::overload::{Overload, Priority};
use outrigger_proxy::retry::budget::{Budget, BudgetSettings};
use outrigger_proxy::retry::pushback::Pushback;
use outrigger_proxy::retry::{Ended, RetryPolicy};
use outrigger_proxy::story::{Stories, Story};
use outrigger_proxy::telemetry::kind::{Ending, Kind, Verb};
use outrigger_proxy::telemetry::kinds::Finished;
use outrigger_proxy::telemetry::metrics::{Direction, RequestLabels, RequestStats, WorkerStats};
use outrigger_proxy::traces::context::Propagators;
use outrigger_proxy::traces::handing::Handing;
use outrigger_proxy::traces::sampler::Sampler;
use outrigger_proxy::traces::{self, Traces};
use outrigger_proxy::upstream_tls::Tls;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{Backend, Balance, Filter, Protocol, RateKey, RateLimit, Retry};

const ROUNDS: u32 = 15;
const TURNS: u64 = 200_000;

/// Prints what one turn of `work` costs; it is given the time and 64 random bits.
fn cost(what: &str, mut work: impl FnMut(u64, u64)) {
    let mut least = f64::MAX;
    let mut random = 7_u64;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for turn in 0..TURNS {
            random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(turn);
            // 100,000 requests a second.
            work(black_box(turn * 10_000), black_box(random));
        }
        least = least.min(begun.elapsed().as_nanos() as f64 / TURNS as f64);
    }
    println!("{what:<58} {least:>7.1} ns");
}

fn endpoints(count: u32) -> EndpointSet {
    let health = Arc::default();
    let entry = |id| {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "shop/cart:80".parse().expect("a cluster's name"),
            address: ([127, 0, 0, 1], 9_000 + id as u16).into(),
            tls: Tls::None,
        };
        Entry { endpoint: Arc::new(Endpoint::new(id, key, Arc::clone(&health))), weight: 1, zone: None }
    };
    EndpointSet::new((0..count).map(entry).collect(), &Balance::PeakEwma)
}

fn head() -> RequestHead {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [
        ("traceparent", traceparent),
        ("x-request-id", "6f0c9b1e-9c0a-4d53-8d3a-6c6f5e5d1a11"),
        ("x-user", "ann"),
        ("accept", "*/*"),
        ("user-agent", "bench"),
    ];
    let fields = fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let authority = "cart".parse().expect("an authority");
    RequestHead::new(Method::GET, authority, "/a/b".parse().expect("a path"), HeaderMap::from_iter(fields))
}

fn rate_limit(key: Vec<RateKey>) -> FilterChain {
    let limit = RateLimit {
        name: "ample".into(),
        requests: 100_000_000,
        period_ms: 100,
        burst: 100_000_000,
        key,
        global: false,
    };
    FilterChain::build_in("bench", 1, &[Filter::RateLimit(limit)], &mut RateLimits::default())
        .expect("the limit is valid")
}

fn balancing() {
    for count in [2, 10, 1_000] {
        let set = endpoints(count);
        cost(&format!("pick of {count} endpoints"), |now_ns, random| {
            let mut next = random;
            let mut bits = || {
                next = next.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
                next
            };
            black_box(set.pick(now_ns, &mut bits, None, &[]));
        });
    }
    let set = endpoints(1);
    let endpoint = set.open()[0].endpoint.clone();
    cost("load, latency and health of the endpoint", |now_ns, _| {
        let attempt = InFlight::start(endpoint.clone());
        attempt.answered(Outcome::Success, 500_000, now_ns);
    });
}

/// What a pick costs where eight threads pick from the same 1,000 endpoints, and send and answer in between, so that nothing is where one
/// of them left it. Reading the clock around it is taken off.
fn crowd() {
    const THREADS: u64 = 8;
    const PICKS: u64 = 300_000;
    let set = endpoints(1_000);
    let work = |thread: u64| {
        let histogram = || Histogram::<u64>::new(3).expect("three digits");
        let (mut took, mut empty) = (histogram(), histogram());
        let mut random = fastrand::Rng::with_seed(thread);
        for turn in 0..PICKS {
            let now_ns = turn * 10_000;
            let begun = Instant::now();
            let between = Instant::now();
            let picked = set.pick(now_ns, &mut || random.u64(..), None, &[]);
            let ended = Instant::now();
            let attempt = InFlight::start(picked.expect("all are well").clone());
            attempt.answered(Outcome::Success, 500_000, now_ns);
            empty.saturating_record((between - begun).as_nanos() as u64);
            took.saturating_record((ended - between).as_nanos() as u64);
        }
        (took, empty)
    };
    let (took, empty) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        let each = threads.into_iter().map(|thread| thread.join().expect("it only picks"));
        each.reduce(|(mut took, mut empty), (more, more_empty)| {
            took.add(more).expect("of the same digits");
            empty.add(more_empty).expect("of the same digits");
            (took, empty)
        })
        .expect("there are threads")
    });
    for (what, quantile) in [("median", 0.5), ("99th percentile", 0.99)] {
        let [took, empty] = [&took, &empty].map(|histogram| histogram.value_at_quantile(quantile));
        let what = format!("pick of 1,000 endpoints by 8 threads, {what}");
        println!(
            "{what:<58} {:>7} ns ({took} with the clock, which takes {empty})",
            took.saturating_sub(empty)
        );
    }
    let mut random = fastrand::Rng::with_seed(7);
    let allocated = allocation_counter::measure(|| {
        for turn in 0..PICKS {
            black_box(set.pick(turn * 10_000, &mut || random.u64(..), None, &[]));
        }
    });
    println!("{:<58} {:>7}", format!("allocations in {PICKS} such picks"), allocated.count_total);
}

fn failure() {
    let backend = Backend::defaults_for(Protocol::Http);
    let breaker = Arc::new(ClusterBreaker::new(backend.breaker, Arc::default()));
    cost("breaker: let in, and told how it went", |now_ns, random| {
        if let Admit::Permit(permit) = breaker.admit(now_ns, random) {
            permit.finish(Outcome::Success, 500_000, now_ns);
        }
    });
    let (budget, settings) = (Budget::default(), BudgetSettings::new(&backend.retry.budget, 16));
    cost("retry budget: a request noted", |now_ns, _| budget.deposit(&settings, now_ns));
    let policy = RetryPolicy::new(&Retry::default(), None);
    cost("retries: a good answer judged", |_, random| {
        black_box(policy.judge(Ended::Status(200), true, (0, 0), Pushback::Unsaid, random));
    });
}

fn protection() {
    let (mut head, mut context) = (head(), Context::default());
    for (what, key) in
        [("rate limit for all", vec![]), ("rate limit by a header", vec![RateKey::Header("x-user".into())])]
    {
        let chain = rate_limit(key);
        cost(what, |now_ns, _| {
            context.now_ns = now_ns;
            black_box(chain.on_request(&mut head, &mut context));
        });
    }
    let overload = Overload::new(1.5);
    cost("load shedding: in and out", |now_ns, _| {
        if let Some(permit) = overload.enter(now_ns) {
            permit.answered(true, now_ns + 1_000);
        }
    });
    let lineages = Lineages::default();
    let inheritance = Inheritance { deadline_ns: u64::MAX, priority: Priority::DEFAULT, retried: false };
    cost("inbound: remembered for the calls made meanwhile", |_, _| {
        lineages.forget(black_box(lineages.remember(&head, inheritance)));
    });
    cost("outbound: looked up, nothing known", |_, _| {
        black_box(lineages.parent(&head));
    });
    let _names = lineages.remember(&head, inheritance);
    cost("outbound: looked up, known", |_, _| {
        black_box(lineages.parent(&head));
    });
}

/// A request that is over, of the third kind that its rule has seen.
fn counting() {
    let labels = RequestLabels { direction: Direction::Outbound, rule: "r".into(), cluster: "c".into() };
    let (stats, worker) = (RequestStats::new(labels, 1), WorkerStats::default());
    let finished = |status: u16, duration_ns: u64, trace: Option<u128>| {
        let kind = Kind::new(Verb::of(&Method::GET), Some(status), Ending::default());
        Finished { status: Some(status), kind, failed: None, duration_ns, now_ns: duration_ns, trace }
    };
    for status in [404, 503] {
        worker.finish(&stats, 0, &finished(status, 1, None));
    }
    cost("request counted, its duration in both histograms", |_, random| {
        worker.finish(&stats, 0, &finished(200, 200_000 + (random >> 43), None));
    });
    cost("the same of a traced one", |_, random| {
        let traced = finished(200, 200_000 + (random >> 43), Some(random.into()));
        worker.finish(&stats, 0, &traced);
    });
}

/// What telling of requests costs, be it few of them or all.
fn telling() {
    let stories = Stories::default();
    let turn = |head: &mut RequestHead, now_ns: u64, tell: &dyn Fn(&Story, &mut RequestHead)| {
        let story = stories.begin(Direction::Outbound, now_ns);
        let mut request = Request::new(());
        *request.method_mut() = head.method().clone();
        *request.uri_mut() = Uri::from_static("/a/b");
        story.arrives(&request.into_parts().0, [now_ns, 1]);
        story.is_sent(([127, 0, 0, 1], 9_000).into(), now_ns, false);
        tell(&story, head);
        stories.end(&story);
    };
    let mut untraced = head();
    untraced.remove_header(&HeaderName::from_static("traceparent"));
    cost("a story alone", |now_ns, _| turn(&mut untraced, now_ns, &|_, _| {}));
    for (what, share) in [("1 % of traces", 0.01), ("all traces", 1.0)] {
        let (handing, mut taken) = Handing::new(2_048, 512);
        let choice = traces::Choice {
            sampler: Sampler::ratio(share, true),
            slow_ns: u64::MAX,
            propagators: Propagators::default(),
        };
        let traces = Traces::new(traces::Shared { choice, handing: Arc::new(handing) });
        cost(what, |now_ns, random| {
            turn(&mut untraced, now_ns, &|story, head| {
                story.is_named(head, true, false, Some(&traces));
                traces.decide(story, head, true, random);
                if let Some(trace) = story.traced() {
                    traces.tell_try(&trace, 0, &mut HeaderMap::new());
                }
                traces.over(&story.told(), Some(200), now_ns, || random);
            });
            while taken.try_recv().is_ok() {}
        });
    }
    for (what, format) in [("a line of JSON", Format::Json), ("a line of words", Format::Text)] {
        let (out, mut batches) = tokio::sync::mpsc::channel(64);
        let choice = access_log::Choice { format, share: 10_000 };
        let log = AccessLog::new(access_log::Shared { choice, out, counts: Arc::default() });
        cost(what, |now_ns, _| {
            turn(&mut untraced, now_ns, &|story, _| log.over(&story.told(), Some(200), now_ns, || 0));
            while batches.try_recv().is_ok() {}
        });
    }
}

fn main() {
    telling();
    cost("for scale: the clock is read", |_, _| {
        black_box(clock::now_ns());
    });
    balancing();
    crowd();
    failure();
    protection();
    counting();
}
