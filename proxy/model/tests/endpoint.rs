//! The standing of an endpoint in every order of threads.

use std::net::SocketAddr;
use std::sync::Arc;

use loom::model::Builder;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;
use outrigger_proxy_model::cluster::balance::{EndpointSet, Entry};
use outrigger_proxy_model::cluster::endpoint::Outcome::{Cancelled, Failure, Success};
use outrigger_proxy_model::cluster::endpoint::{Endpoint, EndpointKey, InFlight};
use outrigger_proxy_model::cluster::health::{Cause, ClusterHealth, Phase, Rules};
use outrigger_proxy_model::telemetry::metrics::Direction;
use outrigger_snapshot::policy::{Balance, Ejection};

const MS: u64 = 1_000_000;
/// After the longest that a first ejection lasts, and before a second one is over.
const DUE: u64 = 15_000 * MS;
const PREEMPTIONS: usize = 2;

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(check);
}

/// Two endpoints, of which the first is ejected at its first failure.
struct Scene {
    set: EndpointSet,
    health: Arc<ClusterHealth>,
}

impl Scene {
    fn new() -> Arc<Self> {
        let health = Arc::new(ClusterHealth::default());
        let ejection = Ejection { consecutive: 1, failure_percent: 0, ..Ejection::default() };
        health.rule(Rules { ejection, slow_start_ms: 0 });
        let entry = |id| {
            let key = EndpointKey {
                direction: Direction::Outbound,
                cluster: "cart:80".parse().expect("a cluster name"),
                address: SocketAddr::from(([10, 0, 0, id as u8], 80)),
                tls: Default::default(),
            };
            let endpoint = Arc::new(Endpoint::new(id, key, health.clone()));
            endpoint.join(0, false, false);
            Entry { endpoint, weight: 1, zone: None }
        };
        let set = EndpointSet::new([0, 1].map(entry).into(), &Balance::Random);
        Arc::new(Self { set, health })
    }

    fn ejected() -> Arc<Self> {
        let scene = Self::new();
        InFlight::start(scene.first().clone()).finish(Failure, MS, 0);
        assert_eq!(scene.first().standing().phase, Phase::Out);
        scene
    }

    fn first(&self) -> &Arc<Endpoint> {
        &self.set.entries()[0].endpoint
    }

    /// A request that would go to the first endpoint, if it may.
    fn trial(&self, now_ns: u64) -> Option<InFlight> {
        let picked = self.set.pick(now_ns, &mut || 0, None, &[]).expect("one of them is well");
        Arc::ptr_eq(&picked, self.first()).then(|| InFlight::start(picked.clone()))
    }

    fn sweep(&self, now_ns: u64) {
        let all: Vec<_> = self.set.entries().iter().map(|entry| entry.endpoint.health()).collect();
        self.health.sweep(&all, now_ns, &mut || 0);
    }

    /// The counts are right, and one good request brings it back.
    fn recovers(&self, now_ns: u64) {
        let out = u32::from(self.first().standing().phase != Phase::In);
        assert_eq!((self.health.ejected(), self.health.healthy()), (out, 2 - out));
        if out == 1 {
            let trial = self.trial(now_ns).expect("a way back");
            trial.finish(Success, MS, now_ns);
        }
        assert!(self.first().standing().is_available(), "{:?}", self.first().standing());
        assert_eq!((self.health.ejected(), self.health.healthy()), (0, 2));
    }
}

#[test]
fn one_request_at_a_time_finds_out() {
    for outcome in [Some(Failure), Some(Cancelled), None] {
        model(move || {
            let (scene, under_way) = (Scene::ejected(), Arc::new(AtomicU32::new(0)));
            let ask = || {
                let (scene, under_way) = (scene.clone(), under_way.clone());
                move || {
                    let Some(trial) = scene.trial(DUE) else { return };
                    assert_eq!(under_way.fetch_add(1, Relaxed), 0, "two at once");
                    under_way.fetch_sub(1, Relaxed);
                    match outcome {
                        Some(outcome) => trial.finish(outcome, MS, DUE),
                        None => drop(trial),
                    }
                }
            };
            let other = thread::spawn(ask());
            ask()();
            other.join().expect("it asserts in its own words");
            scene.recovers(100 * DUE);
        });
    }
}

/// At the same moment that the request on trial answers, the sweep finds that its time is over.
#[test]
fn a_trial_counts_or_is_too_late_and_never_both() {
    for outcome in [Some(Success), Some(Failure), None] {
        model(move || {
            let scene = Scene::ejected();
            let trial = scene.trial(DUE).expect("it is due");
            let late = DUE + 10_000 * MS;
            let sweep = thread::spawn({
                let scene = scene.clone();
                move || scene.sweep(late)
            });
            match outcome {
                Some(outcome) => trial.finish(outcome, MS, late),
                None => drop(trial),
            }
            sweep.join().expect("it asserts in its own words");
            let standing = scene.first().standing();
            let failed = scene.health.ejections(Cause::Trial);
            assert_ne!(standing.phase, Phase::Trial);
            assert!(failed == 0 || standing.phase == Phase::Out, "too late, and yet it counts: {standing:?}");
            assert!(failed <= 1);
            scene.recovers(100 * DUE);
        });
    }
}

/// Requests from before the ejection end while another finds out.
#[test]
fn results_of_an_older_time_are_ignored() {
    for outcome in [Success, Failure, Cancelled] {
        model(move || {
            let scene = Scene::new();
            let early = InFlight::start(scene.first().clone());
            InFlight::start(scene.first().clone()).finish(Failure, MS, 0);
            let ends = thread::spawn(move || early.finish(outcome, MS, DUE));
            let trial = scene.trial(DUE).expect("it is due");
            assert_eq!(scene.first().standing().phase, Phase::Trial, "nobody else judges");
            ends.join().expect("it asserts in its own words");
            assert_eq!(scene.first().standing().phase, Phase::Trial, "nobody else judges");
            trial.finish(Success, MS, DUE);
            scene.recovers(DUE);
        });
    }
}

/// Failures of both at once, of which the rules allow for one to be ejected.
#[test]
fn no_more_are_ejected_than_the_cap_allows() {
    model(|| {
        let scene = Scene::new();
        let fail = |index: usize| {
            let request = InFlight::start(scene.set.entries()[index].endpoint.clone());
            move || request.finish(Failure, MS, 0)
        };
        let other = thread::spawn(fail(0));
        fail(1)();
        other.join().expect("it asserts in its own words");
        assert_eq!((scene.health.ejected(), scene.health.healthy(), scene.health.overflows()), (1, 1, 1));
    });
}
