//! One time that a request is sent, as far as its endpoint and the breaker of its cluster hear of it.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use crate::clock;
use crate::cluster::breaker::Permit;
use crate::cluster::endpoint::{Endpoint, InFlight, Outcome};

/// A request on its way to an endpoint. One that is dropped unanswered, because its client left or its time is over, still tells for how
/// long nothing came: else an endpoint that hangs would soon look like the fastest.
pub struct Attempt {
    in_flight: InFlight,
    /// Of the cluster's breaker, until it is answered.
    permit: Cell<Option<Permit>>,
    started_ns: Cell<u64>,
    deadline_ns: u64,
    /// When the head of the answer came, where that does not say how the request went; else 0.
    begun_ns: u64,
    /// It waits for a place among the connections of this proxy: how that ends says nothing of the endpoint.
    in_line: Cell<bool>,
    answered: Cell<bool>,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Attempt").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Attempt {
    /// A request sent to `endpoint` at `started_ns`, of which nobody wants an answer after `deadline_ns`.
    pub fn start(endpoint: Arc<Endpoint>, permit: Permit, started_ns: u64, deadline_ns: u64) -> Self {
        let (in_flight, permit) = (InFlight::start(endpoint), Cell::new(Some(permit)));
        let (started_ns, in_line) = (Cell::new(started_ns), Cell::new(false));
        Self { in_flight, permit, started_ns, deadline_ns, begun_ns: 0, in_line, answered: Cell::new(false) }
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.in_flight.endpoint()
    }

    /// When it was sent.
    pub fn started_ns(&self) -> u64 {
        self.started_ns.get()
    }

    /// After which nobody wants an answer.
    pub fn deadline_ns(&self) -> u64 {
        self.deadline_ns
    }

    /// Whether it waits for a place that the endpoint has no part in.
    pub fn in_line(&self) -> &Cell<bool> {
        &self.in_line
    }

    /// It has waited for its place until `now_ns`, and its endpoint is asked from now on.
    pub fn turn(&self, now_ns: u64) {
        self.started_ns.set(now_ns);
        self.in_line.set(false);
    }

    /// The head of the answer has come: it took so long, but how it went is for what follows to say.
    pub fn begun(&mut self, now_ns: u64) {
        self.begun_ns = now_ns;
    }

    /// How it went, until the response head.
    pub fn answered(&self, outcome: Outcome, now_ns: u64) {
        self.answered.set(true);
        if self.in_line.get() {
            return;
        }
        let (started_ns, resumed_ns) = (self.started_ns.get(), clock::resumed_ns());
        let excused = outcome == Outcome::Failure && started_ns < resumed_ns;
        let outcome = if excused { Outcome::Cancelled } else { outcome };
        let until_ns = if self.begun_ns == 0 { now_ns } else { self.begun_ns };
        let elapsed_ns = until_ns.saturating_sub(started_ns.max(resumed_ns));
        self.in_flight.answered(outcome, elapsed_ns, now_ns);
        if let Some(permit) = self.permit.take() {
            permit.finish(outcome, elapsed_ns, now_ns);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.answered.get() {
            let now_ns = clock::now_ns();
            let outcome = match self.begun_ns {
                0 if now_ns >= self.deadline_ns => Outcome::Failure,
                0 => Outcome::Cancelled,
                // Nobody has waited for the rest of it.
                _ => Outcome::Success,
            };
            self.answered(outcome, now_ns);
        }
    }
}
