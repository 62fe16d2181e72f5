//! Traces: which requests are told of, and how those who carry them further learn of it.
//!
//! What must be known at the head of a request is decided there: whether its trace is told of, and under which name what comes after it
//! stands. The rest is made once it is over, out of its story, and handed to a thread that nothing waits for.
//! A request that nobody is told of costs no allocation.

use std::cell::Cell;
use std::sync::Arc;

use http::HeaderMap;
use outrigger_snapshot::head::RequestHead;

use self::context::Propagators;
use self::handing::{Handing, Loss, Why};
use self::kept::Kept;
use self::sampler::Sampler;
use crate::story::{Story, Told, Trace, TraceId, named};

pub mod context;
pub mod export;
pub mod handing;
pub mod kept;
pub mod metrics;
pub mod sampler;
mod span;

/// Requests that each worker tells of in a second although they were not drawn, because they failed or were slow.
pub const KEPT_PER_SECOND_MAX: u32 = 50;

/// How requests are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// By their traces.
    pub sampler: Sampler,
    /// What takes longer is told of in any case, in nanoseconds.
    pub slow_ns: u64,
    /// How traces are named in heads.
    pub propagators: Propagators,
}

/// What workers share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// How requests are chosen.
    pub choice: Choice,
    /// Where they go.
    pub handing: Arc<Handing>,
}

/// The traces of one worker.
#[derive(Debug)]
pub struct Traces {
    shared: Shared,
    /// The second that is under way, and how many were kept in it.
    second: Cell<(u64, u32)>,
}

impl Traces {
    /// Of a worker that has told of nothing.
    pub fn new(shared: Shared) -> Self {
        Self { shared, second: Cell::default() }
    }

    /// The place of a request in a trace, as far as its head says.
    pub fn read(&self, head: &RequestHead) -> Option<Trace> {
        self.shared.choice.propagators.read(head)
    }

    /// Decides whether a request is told of, and has those after it know, if so. `random` names its span. Of a stranger, it does not count
    /// what they say that others should be told, neither here nor further on.
    pub fn decide(&self, story: &Story, head: &mut RequestHead, stranger: bool, random: u64) {
        let Choice { sampler, propagators, .. } = &self.shared.choice;
        let (mut trace, share, swayed) = {
            let told = story.told();
            let swayed = stranger && (told.trace.is_some() || told.text.has_brought_id());
            (told.place(), told.telemetry().and_then(|telemetry| telemetry.traces), swayed)
        };
        let sampler = share.map_or(*sampler, |share| sampler.of(share));
        let (sampled, draw) =
            if stranger { (None, random & sampler::DRAW_MAX) } else { (trace.sampled, trace.id.draw()) };
        let drawn = sampler.draws(sampled, draw);
        let span = if drawn || trace.parent == 0 { named(random) } else { trace.parent };
        if drawn {
            trace.span = span;
        }
        if drawn || swayed {
            if trace.parent == 0 {
                propagators.forget_state(head);
            }
            propagators.write(&trace, span, drawn, &mut |name, value| head.set_header(name, value));
        }
        if swayed {
            trace.sampled = Some(drawn);
        }
        story.is_placed(trace);
    }

    /// Names the span of a try to whoever gets it.
    pub fn tell_try(&self, trace: &Trace, number: u16, headers: &mut HeaderMap) {
        self.shared.choice.propagators.write(trace, trace.of_try(number), true, &mut |name, value| {
            headers.insert(name, value);
        });
    }

    /// A request is over at `now_ns`: tells of it if it was drawn, or if it ended badly and there is room for such.
    pub fn over(&self, told: &Told, status: Option<u16>, now_ns: u64, random: impl FnOnce() -> u64) {
        let Shared { choice, handing } = &self.shared;
        let slow_ns = told.telemetry().and_then(|telemetry| telemetry.slow_ms).map(|ms| ms * 1_000_000);
        let mut trace = told.place();
        let why = match () {
            () if trace.span != 0 => Why::Drawn,
            () if told.is_failure(status) => Why::Failed,
            () if now_ns.saturating_sub(told.started_ns) > slow_ns.unwrap_or(choice.slow_ns) => Why::Slow,
            () => return,
        };
        if why != Why::Drawn {
            if !self.has_room(now_ns) {
                return handing.lost(Loss::Budget, 1);
            }
            trace.span = named(random());
        }
        handing.hand(why, || Kept::of(told, trace, status, now_ns));
    }

    fn has_room(&self, now_ns: u64) -> bool {
        let now_s = now_ns / 1_000_000_000;
        let (second, kept) = self.second.get();
        let kept = if second == now_s { kept } else { 0 };
        self.second.set((now_s, kept + u32::from(kept < KEPT_PER_SECOND_MAX)));
        kept < KEPT_PER_SECOND_MAX
    }
}

impl Told {
    /// Its place in a trace; where its client says none, in one that begins with it.
    pub fn place(&self) -> Trace {
        self.trace.unwrap_or_else(|| Trace::root(self.text.with_id(TraceId::of_request)))
    }
}

#[cfg(test)]
mod tests;
