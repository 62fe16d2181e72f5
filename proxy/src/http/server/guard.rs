//! What becomes of a connection that is idle for too long, of a head that does not end, and of all of them in a drain.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use super::{Downstream, UNSPOKEN_NS};
use crate::clock;
use crate::http::stream::CutAt;
use crate::identity::peers::{PARTING_NS, Peer};
use crate::passage::Activity;
use crate::sweep::Timer;
use crate::telemetry::metrics::Direction;
use crate::worker::{Phase, Worker};

/// Who has said nothing for so long may go on saying nothing: making a codec costs a microsecond.
const REST_NS: u64 = 1_000_000_000;

/// What is to become of a connection.
pub(super) enum Verdict {
    Stay,
    /// Without a codec: nothing was said for a while.
    Rest,
    /// No new requests; what is under way goes on.
    Finish,
    /// At once.
    Cut,
}

/// Watches over a connection: idle too long, a head that does not end, too old, or the proxy drains.
pub(super) struct Guard {
    worker: Rc<Worker>,
    activity: Rc<Activity>,
    timer: Timer,
    armed_ns: u64,
    /// When the response under way is to be cut.
    cut_at: CutAt,
    /// When it must take no more requests.
    retire_ns: u64,
    /// Who is there, as long as that is believed.
    peer: Option<Arc<Peer>>,
    address: IpAddr,
    /// When what is under way is cut, once the peer is believed no more.
    parted_ns: u64,
    finishing: bool,
    /// Until then the first request is on its way, and a connection that ends before it would drop it.
    unspoken_until_ns: u64,
    direction: Direction,
    /// Whether it is told as soon as the proxy leaves. An idle HTTP/1.1 connection cannot be told, and one that came after that knows no
    /// better place: both stay until the proxy takes no more.
    told: bool,
    /// Whether it is looked for rest.
    converses: bool,
}

impl Guard {
    pub(super) fn new(downstream: &Downstream, http2: bool) -> Self {
        let worker = downstream.worker.clone();
        let timer = Timer::new(&worker.sweep);
        let told = http2 && worker.phase() == Phase::Running;
        Self {
            worker,
            activity: downstream.activity.clone(),
            timer,
            armed_ns: u64::MAX,
            cut_at: downstream.cut_at.clone(),
            retire_ns: u64::MAX,
            peer: downstream.caller.get().map(|caller| caller.peer.clone()),
            address: downstream.between.source.ip(),
            parted_ns: u64::MAX,
            finishing: false,
            unspoken_until_ns: clock::now_ns().saturating_add(UNSPOKEN_NS),
            direction: downstream.direction,
            told,
            converses: false,
        }
    }

    /// There is a codec that is not needed while nothing is said.
    pub(super) fn converse(&mut self) {
        self.converses = true;
        self.timer.disarm();
    }

    /// There is none.
    pub(super) fn rest(&mut self) {
        self.converses = false;
        self.timer.disarm();
    }

    /// Ends at `at_ns` if it takes no requests from then on.
    pub(super) fn retire(&mut self, at_ns: u64) {
        self.retire_ns = at_ns;
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Verdict {
        let phase = self.worker.phase();
        if !self.finishing && (phase.drains(self.direction) || self.told && phase >= Phase::Leaving) {
            if self.activity.is_unspoken() && clock::now_ns() < self.unspoken_until_ns {
                self.arm(self.unspoken_until_ns, context);
                return Verdict::Stay;
            }
            self.finishing = true;
            return Verdict::Finish;
        }
        if self.parts() {
            self.arm(self.parted_ns, context);
            return Verdict::Finish;
        }
        let head_begins = self.activity.head_begins();
        // Later is found out when it fires.
        if self.timer.armed() && !head_begins && self.cut_at.get() >= self.armed_ns {
            return Verdict::Stay;
        }
        let now_ns = clock::now_ns();
        if head_begins {
            self.activity.head_began(now_ns);
        }
        let due_ns = self.due_ns(now_ns);
        if due_ns > now_ns {
            let rest_ns = match self.converses && !self.finishing {
                true if self.activity.rests() => self.activity.idle_since().saturating_add(REST_NS),
                true => now_ns.saturating_add(REST_NS),
                false => u64::MAX,
            };
            if rest_ns <= now_ns {
                return Verdict::Rest;
            }
            self.arm(due_ns.min(rest_ns), context);
            return Verdict::Stay;
        }
        let cut = self.cut_at.get() <= now_ns;
        if self.finishing || cut || self.activity.head_since().is_some() {
            return Verdict::Cut;
        }
        self.finishing = true;
        self.arm(now_ns.saturating_add(self.worker.limits.idle_ns), context);
        Verdict::Finish
    }

    /// Whether the peer is believed no more, which was not noticed before.
    fn parts(&mut self) -> bool {
        let Some((peer, problem)) = self.peer.as_ref().and_then(|peer| Some((peer, peer.refused()?))) else {
            return false;
        };
        peer.part(problem, &self.worker.stats, self.direction, Some(self.address));
        self.peer = None;
        self.parted_ns = clock::now_ns().saturating_add(PARTING_NS);
        self.finishing = true;
        true
    }

    fn arm(&mut self, at_ns: u64, context: &Context<'_>) {
        self.armed_ns = at_ns;
        self.timer.arm(at_ns, context.waker());
    }

    /// When to look again, or act.
    fn due_ns(&self, now_ns: u64) -> u64 {
        let limits = &self.worker.limits;
        if let Some(head_ns) = self.activity.head_since() {
            return head_ns.saturating_add(limits.head_ns).min(self.parted_ns);
        }
        let idle_ns = match self.activity.in_flight() {
            0 => self.activity.idle_since().saturating_add(limits.idle_ns),
            _ => now_ns.saturating_add(limits.idle_ns).min(self.cut_at.get()),
        };
        if self.finishing { idle_ns.min(self.parted_ns) } else { idle_ns.min(self.retire_ns) }
    }
}
