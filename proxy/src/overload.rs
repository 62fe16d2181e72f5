//! Shedding of load in front of the application: an adaptive limit of requests in flight, a short queue, and classes of which the lesser go
//! first.
//!
//! [`limit`] is the rule, [`gate`] what it measures and limits, [`queue`] who waits, [`priority`] who matters, [`layer`] the step of the
//! stack, [`guard`] what a rule of the plan knows of it. Nothing here owns a clock: `now_ns` is passed in, and the rule looks when a request happens to pass and a tick is over. A request
//! that finds room, which is nearly every one, costs some atomic operations; only who must wait or is refused takes a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::overload::counts::Counts;
use crate::overload::gate::{Gate, Integral};
use crate::overload::limit::{AdaptiveLimit, EARLY_TICK_NS, Observed, Reading, Sample};
use crate::overload::queue::{Pushed, Queue};
use crate::overload::ticket::Ticket;

pub use priority::Priority;

pub mod counts;
pub mod gate;
pub mod guard;
pub mod layer;
pub mod limit;
pub mod priority;
pub mod queue;
pub mod ticket;

/// The multiple of the normal latency that is still normal.
pub const TOLERANCE: f64 = 1.5;
/// The same for an application of few cores, whose natural variance looks like overload.
pub const TOLERANCE_FEW_CORES: f64 = 2.0;
/// Fewer cores than these are few.
pub const FEW_CORES: usize = 4;

/// Why a request is not given to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The limit is reached, and the queue is full.
    Full,
    /// It waited for as long as one may.
    Waited,
    /// A more important one took its place in the queue.
    Displaced,
    /// Its caller's deadline leaves less time than the application usually takes.
    Expired,
    /// The proxy is short of memory.
    Memory,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 5] = [Self::Full, Self::Waited, Self::Displaced, Self::Expired, Self::Memory];

    /// As labels spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Waited => "waited",
            Self::Displaced => "displaced",
            Self::Expired => "expired",
            Self::Memory => "memory",
        }
    }
}

/// A request that was not given to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shed {
    /// Why.
    pub cause: Cause,
    /// The limit at that moment.
    pub limit: u32,
    /// The requests in flight.
    pub in_flight: u32,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Admission {
    /// It may go on.
    Enters(Permit),
    /// It has to wait until the ticket says more.
    Waits(Arc<Ticket>),
    /// It is refused.
    Shed(Shed),
}

/// The state of one application's overload protection; one for all workers.
#[derive(Debug)]
pub struct Overload {
    gate: Gate,
    queue: Mutex<Queue<Arc<Ticket>>>,
    waiting: AtomicU32,
    look: Mutex<Look>,
    due_ns: AtomicU64,
    /// The last median latency, in nanoseconds.
    usual_ns: AtomicU64,
    counts: Counts,
}

/// What the rule needs between two looks.
#[derive(Debug)]
struct Look {
    limit: AdaptiveLimit,
    since: Integral,
    answers: u64,
    refused: bool,
    samples: Vec<Sample>,
}

/// A place at the application. Dropped without [`Permit::answered`], it tells nothing of latency.
#[derive(Debug)]
pub struct Permit {
    overload: Arc<Overload>,
    entered_ns: u64,
    now_ns: Option<u64>,
}

impl Overload {
    /// Protection that has seen nothing; see [`AdaptiveLimit::new`] for `tolerance`.
    pub fn new(tolerance: f64) -> Arc<Self> {
        let limit = AdaptiveLimit::new(tolerance);
        let look =
            Look { limit, since: Integral::default(), answers: 0, refused: false, samples: Vec::new() };
        Arc::new(Self {
            gate: Gate::default(),
            queue: Mutex::default(),
            waiting: AtomicU32::new(0),
            look: Mutex::new(look),
            due_ns: AtomicU64::new(0),
            usual_ns: AtomicU64::new(0),
            counts: Counts::default(),
        })
    }

    /// Lets a request in without asking how important it is, while there is room for every class.
    pub fn enter(self: &Arc<Self>, now_ns: u64) -> Option<Permit> {
        self.tick(now_ns);
        let room = self.waiting.load(SeqCst) == 0
            && self.gate.try_enter(Priority::LOWEST.share(self.gate.limit()), now_ns);
        room.then(|| self.permit(now_ns))
    }

    /// Lets a request in, has it wait, or refuses it. `deadline_ns`: after which nobody waits for its answer.
    pub fn admit(self: &Arc<Self>, priority: Priority, deadline_ns: u64, now_ns: u64) -> Admission {
        let none_waits = self.waiting.load(SeqCst) == 0;
        if none_waits && self.gate.try_enter(priority.share(self.gate.limit()), now_ns) {
            return Admission::Enters(self.permit(now_ns));
        }
        self.gate.note_refused();
        let remaining_ns = deadline_ns.saturating_sub(now_ns);
        if remaining_ns < self.usual_ns.load(Relaxed) {
            return Admission::Shed(self.shed(priority, Cause::Expired));
        }
        let ticket = Arc::new(Ticket::new(priority));
        let mut queue = self.queue();
        match queue.push(priority, ticket.clone(), now_ns) {
            Pushed::Full(_) => {
                drop(queue);
                Admission::Shed(self.shed(priority, Cause::Full))
            }
            Pushed::Waits { wait_ns, displaced } => {
                ticket.wait_until(now_ns.saturating_add(wait_ns));
                displaced.iter().for_each(|ticket| ticket.displace());
                self.waiting.store(queue.len() as u32, SeqCst);
                // A place may have become free while it came.
                self.grant(&mut queue, now_ns);
                drop(queue);
                match ticket.entered_ns() {
                    Some(entered_ns) => {
                        self.counts.waited(0);
                        Admission::Enters(self.permit(entered_ns))
                    }
                    None => Admission::Waits(ticket),
                }
            }
        }
    }

    /// Ends the wait of a ticket: the place that it was given meanwhile, or why there is none.
    pub fn settle(self: &Arc<Self>, ticket: &Arc<Ticket>, came_ns: u64, now_ns: u64) -> Result<Permit, Shed> {
        if let Some(entered_ns) = ticket.entered_ns() {
            self.counts.waited(entered_ns.saturating_sub(came_ns));
            return Ok(self.permit(entered_ns));
        }
        if ticket.is_displaced() {
            return Err(self.shed(ticket.priority(), Cause::Displaced));
        }
        match self.leave_queue(ticket, now_ns) {
            Some(permit) => Ok(permit),
            None => Err(self.shed(ticket.priority(), Cause::Waited)),
        }
    }

    /// Refuses a request for want of memory, which says nothing of the limit.
    pub fn refuse(&self, priority: Priority) -> Shed {
        self.counted(priority, Cause::Memory)
    }

    /// Takes a ticket out of the queue; the place that it was given at this very moment, if it was.
    pub fn leave_queue(self: &Arc<Self>, ticket: &Arc<Ticket>, now_ns: u64) -> Option<Permit> {
        let mut queue = self.queue();
        queue.remove(now_ns, |waiting| Arc::ptr_eq(waiting, ticket));
        self.waiting.store(queue.len() as u32, SeqCst);
        drop(queue);
        // Whoever grants holds the queue: it has, or it never will.
        ticket.entered_ns().map(|entered_ns| self.permit(entered_ns))
    }

    /// The last look's findings, for people.
    pub fn reading(&self) -> Reading {
        self.look.lock().unwrap_or_else(PoisonError::into_inner).limit.reading()
    }

    /// What was decided so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many requests may be in flight.
    pub fn limit(&self) -> u32 {
        self.gate.limit()
    }

    /// How many are.
    pub fn in_flight(&self) -> u32 {
        self.gate.in_flight()
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    fn permit(self: &Arc<Self>, entered_ns: u64) -> Permit {
        Permit { overload: self.clone(), entered_ns, now_ns: None }
    }

    fn shed(&self, priority: Priority, cause: Cause) -> Shed {
        self.gate.note_refused();
        self.counted(priority, cause)
    }

    fn counted(&self, priority: Priority, cause: Cause) -> Shed {
        self.counts.shed(priority, cause);
        Shed { cause, limit: priority.share(self.gate.limit()), in_flight: self.gate.in_flight() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Arc<Ticket>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out free places.
    fn grant(&self, queue: &mut Queue<Arc<Ticket>>, now_ns: u64) {
        let limit = self.gate.limit();
        let admit = |priority: Priority| self.gate.try_enter(priority.share(limit), now_ns);
        while let Some(ticket) = queue.pop(now_ns, admit) {
            ticket.grant(now_ns);
        }
        self.waiting.store(queue.len() as u32, SeqCst);
    }

    fn leave(&self, entered_ns: u64, now_ns: u64) {
        self.gate.leave(entered_ns, now_ns);
        self.tick(now_ns);
        if self.waiting.load(SeqCst) > 0 {
            self.grant(&mut self.queue(), now_ns);
        }
    }

    /// Lets the rule look, once a tick is over and unless another worker is at it.
    fn tick(&self, now_ns: u64) {
        if now_ns < self.due_ns.load(Relaxed) {
            return;
        }
        let Ok(mut look) = self.look.try_lock() else { return };
        self.due_ns.store(now_ns.saturating_add(EARLY_TICK_NS), Relaxed);
        let look = &mut *look;
        let (now, answers) = (self.gate.integral(now_ns), self.gate.answers());
        look.refused |= self.gate.take_refused();
        self.gate.samples(look.answers, now_ns, &mut look.samples);
        let mut observed = Observed {
            now_ns,
            elapsed_ns: now_ns.saturating_sub(look.since.at_ns()),
            in_flight_mean: now.mean_since(&look.since),
            in_flight: self.gate.in_flight(),
            answers: answers - look.answers,
            refused: look.refused,
            samples: &mut look.samples,
        };
        if look.limit.look(&mut observed) {
            (look.since, look.answers, look.refused) = (now, answers, false);
            self.gate.set_limit(look.limit.limit());
            self.usual_ns.store((look.limit.reading().sample_s * 1e9) as u64, Relaxed);
        }
    }
}

impl Permit {
    /// When the request entered.
    pub fn entered_ns(&self) -> u64 {
        self.entered_ns
    }

    /// The application has answered. `telling`: the answer tells how long its work takes, as an error does not.
    pub fn answered(mut self, telling: bool, now_ns: u64) {
        if telling {
            self.overload.gate.answered(self.entered_ns, now_ns);
        }
        self.now_ns = Some(now_ns);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now_ns = self.now_ns.unwrap_or_else(crate::clock::now_ns);
        self.overload.leave(self.entered_ns, now_ns);
    }
}
