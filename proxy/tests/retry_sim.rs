//! The production retry policy and budget against a service that works on what nobody waits for any more: twenty workers of 20 ms each, a queue
//! without bound, and ten clients that give up after 200 ms. For ten seconds it is asked for twice what it can do.
//!
//! What the defaults add to that, load shedding, is tried with real processes in `integration-tests`. Everything is a function of the seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;
use outrigger_proxy::retry::budget::{Budget, BudgetSettings};
use outrigger_proxy::retry::pushback::Pushback;
use outrigger_proxy::retry::{Ended, RetryPolicy, Verdict};
use outrigger_snapshot::policy::Retry;

const SECOND: u64 = 1_000_000_000;
const WORKERS: usize = 20;
const WORK_NS: f64 = 20e6;
const PATIENCE_NS: u64 = SECOND / 5;
const CLIENTS: usize = 10;
/// Requests a second; the capacity is 1,000.
const USUAL: f64 = 700.0;
const TROUBLE: f64 = 2_000.0;
const FROM_S: usize = 20;
const TO_S: usize = 30;
const END_S: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Again(usize),
    Late(usize),
    Done(usize),
}

struct Request {
    client: usize,
    second: usize,
    retried: u32,
}

struct Try {
    request: usize,
    over: bool,
}

struct Simulation {
    policy: RetryPolicy,
    /// `None`: retries as the policy likes.
    budget: Option<(BudgetSettings, Vec<Budget>)>,
    random: Rng,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    scheduled: usize,
    requests: Vec<Request>,
    tries: Vec<Try>,
    queue: VecDeque<usize>,
    busy: usize,
    /// Requests and those answered in time, by the second in which they came.
    offered: Vec<f64>,
    good: Vec<f64>,
}

impl Simulation {
    /// The share of the requests of each second that were answered in time.
    fn run(policy: RetryPolicy, budget: Option<BudgetSettings>) -> Vec<f64> {
        let budget = budget.map(|settings| (settings, (0..CLIENTS).map(|_| Budget::default()).collect()));
        let mut simulation = Self {
            policy,
            budget,
            random: Rng::with_seed(7),
            events: BinaryHeap::new(),
            scheduled: 0,
            requests: Vec::new(),
            tries: Vec::new(),
            queue: VecDeque::new(),
            busy: 0,
            offered: vec![0.0; END_S],
            good: vec![0.0; END_S],
        };
        simulation.schedule(0, Event::Arrives);
        while let Some(Reverse((now_ns, _, event))) = simulation.events.pop() {
            if now_ns >= END_S as u64 * SECOND {
                break;
            }
            simulation.step(now_ns, event);
        }
        simulation.good.iter().zip(&simulation.offered).map(|(good, offered)| good / offered).collect()
    }

    fn schedule(&mut self, at_ns: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at_ns, self.scheduled, event)));
    }

    fn exponential(&mut self, mean_ns: f64) -> u64 {
        (-(1.0 - self.random.f64()).ln() * mean_ns) as u64
    }

    fn step(&mut self, now_ns: u64, event: Event) {
        match event {
            Event::Arrives => {
                let second = (now_ns / SECOND) as usize;
                let rate = if (FROM_S..TO_S).contains(&second) { TROUBLE } else { USUAL };
                let next_ns = now_ns + self.exponential(SECOND as f64 / rate);
                self.schedule(next_ns, Event::Arrives);
                let client = self.random.usize(..CLIENTS);
                if let Some((settings, budgets)) = &self.budget {
                    budgets[client].deposit(settings, now_ns);
                }
                self.offered[second] += 1.0;
                self.requests.push(Request { client, second, retried: 0 });
                self.send(self.requests.len() - 1, now_ns);
            }
            Event::Again(request) => self.send(request, now_ns),
            Event::Late(nth) => self.give_up(nth, now_ns),
            Event::Done(nth) => {
                self.busy -= 1;
                if !std::mem::replace(&mut self.tries[nth].over, true) {
                    self.good[self.requests[self.tries[nth].request].second] += 1.0;
                }
                self.work(now_ns);
            }
        }
    }

    fn send(&mut self, request: usize, now_ns: u64) {
        self.tries.push(Try { request, over: false });
        let nth = self.tries.len() - 1;
        self.queue.push_back(nth);
        self.schedule(now_ns + PATIENCE_NS, Event::Late(nth));
        self.work(now_ns);
    }

    fn work(&mut self, now_ns: u64) {
        while self.busy < WORKERS
            && let Some(nth) = self.queue.pop_front()
        {
            self.busy += 1;
            let done_ns = now_ns + self.exponential(WORK_NS);
            self.schedule(done_ns, Event::Done(nth));
        }
    }

    fn give_up(&mut self, nth: usize, now_ns: u64) {
        if std::mem::replace(&mut self.tries[nth].over, true) {
            return;
        }
        let index = self.tries[nth].request;
        let Request { client, retried, .. } = self.requests[index];
        let random = self.random.u64(..);
        let judged = self.policy.judge(Ended::Late, true, (retried, 0), Pushback::Unsaid, random);
        let Verdict::Again { wait_ns, .. } = judged else { return };
        if self.budget.as_ref().is_none_or(|(settings, budgets)| budgets[client].withdraw(settings, now_ns)) {
            self.requests[index].retried += 1;
            self.schedule(now_ns + wait_ns, Event::Again(index));
        }
    }
}

fn mean(shares: &[f64]) -> f64 {
    shares.iter().sum::<f64>() / shares.len() as f64
}

/// RT-2.
#[test]
fn with_retries_and_no_budget_a_moment_of_overload_never_ends_and_with_a_budget_it_does() {
    let retry = Retry { attempts: 3, ..Retry::default() };
    let naive = Simulation::run(RetryPolicy::new(&retry, None), None);
    let settings = BudgetSettings::new(&retry.budget, CLIENTS as u32);
    let bounded = Simulation::run(RetryPolicy::new(&retry, None), Some(settings));
    for (name, shares) in [("naive", &naive), ("bounded", &bounded)] {
        let tens: Vec<String> = shares.chunks(10).map(|ten| format!("{:.2}", mean(ten))).collect();
        println!("{name}: {}", tens.join(" "));
        assert!(mean(&shares[..FROM_S]) >= 0.99, "{name}: well before");
    }
    // A second in which it had recovered would be a peak.
    let best = naive[TO_S + 1..].iter().copied().fold(0.0, f64::max);
    assert!(best < 0.05, "{best} in a second after it");
    let last = mean(&bounded[END_S - 20..END_S - 2]);
    assert!(last >= 0.95, "{last} at last");
}
