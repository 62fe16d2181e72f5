//! What is known of one request, for those who ask once it is over: counters, and people who want to know why it failed.
//!
//! A request's story is written while it goes its way, into room that its worker uses again and again: nothing is allocated for it, and
//! nothing of it is anyone else's memory. What few requests meet stands in boxes.

use std::borrow::Cow;
use std::cell::{Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderMap;
use http::request;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::Telemetry;

use crate::caller::Caller;
use crate::error::ProxyError;
use crate::grpc;
use crate::http::body::Progress;
use crate::http::forwarded::REQUEST_ID;
use crate::lineage::Names;
use crate::local_reply::{MISHAPS, Mishap, UPSTREAM_GRPC_STATUS, UPSTREAM_STATUS};
use crate::plan::Resolution;
use crate::telemetry::metrics::Direction;
use crate::traces::{Traces, context};

pub use self::attempt::{Attempted, Culprit, Milestones};
use self::ending::Times;
pub use self::ending::{Ending, Fired};
use self::labels::Found;
pub use self::labels::Labels;
pub use self::text::Text;
pub(crate) use self::text::lossy;
pub use self::trace::{Trace, TraceId, named};

mod attempt;
mod ending;
mod labels;
mod text;
mod trace;

/// Bytes that are kept of what a server says of a call that it failed.
const GRPC_BYTES_MAX: usize = 256;
/// Tries that are kept; no retry policy allows more.
const TRIES_MAX: usize = 16;
/// Stories that a worker keeps room for while nobody needs it.
const SPARE_MAX: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub struct Story(RefCell<Told>);

/// What a story has come to.
#[derive(Debug)]
pub struct Told {
    /// Which way the request goes.
    pub direction: Direction,
    /// When its head was complete, on [`crate::clock`].
    pub started_ns: u64,
    /// Where it comes from, on this connection.
    pub source: Option<SocketAddr>,
    /// Who its sender has proved to be.
    pub caller: Option<Rc<Caller>>,
    /// Where it goes; `None`: it met no rule.
    pub resolution: Option<Resolution>,
    /// Under what the workload's own calls find it.
    pub lineage: Names,
    /// The release by which that was found, and its revision.
    pub release: (u64, u64),
    /// When nobody waits any more; `u64::MAX`: there is no such time.
    pub deadline_ns: u64,
    /// Its place in the trace that it is part of.
    pub trace: Option<Trace>,
    /// Whether it is a gRPC call.
    pub grpc: bool,
    /// Every time it was sent, in the order of beginning.
    pub tries: Vec<Attempted>,
    /// Those for which there was no room.
    pub tries_omitted: u32,
    /// What became of it, where that is not simply an answer.
    pub ending: Option<Box<Ending>>,
    /// What it says of itself.
    pub text: Text,
    /// What it has in the headers that its labels are read from.
    found: Found,
    /// How much of its body has come, if it has one.
    body: Option<Rc<Progress>>,
    /// How much of its answer went down, in bytes.
    pub bytes_out: u64,
}

impl Told {
    fn new() -> Self {
        Self {
            direction: Direction::Outbound,
            started_ns: 0,
            source: None,
            caller: None,
            resolution: None,
            lineage: Names::default(),
            release: (0, 0),
            deadline_ns: u64::MAX,
            trace: None,
            grpc: false,
            tries: Vec::new(),
            tries_omitted: 0,
            ending: None,
            text: Text::default(),
            found: Found::default(),
            body: None,
            bytes_out: 0,
        }
    }

    /// Forgets everything and keeps the room.
    fn clear(&mut self) {
        let (mut tries, text) = (std::mem::take(&mut self.tries), std::mem::take(&mut self.text));
        let found = std::mem::take(&mut self.found);
        tries.clear();
        *self = Self { tries, text: text.cleared(), found: found.cleared(), ..Self::new() };
    }

    /// What a policy says is told of it, if one does.
    pub fn telemetry(&self) -> Option<&Telemetry> {
        self.resolution.as_ref()?.destination()?.cluster.telemetry.as_ref()
    }

    /// What a policy says of it beside the usual.
    pub fn labels(&self) -> impl Iterator<Item = (&Arc<str>, Cow<'_, str>)> {
        let destination = self.resolution.as_ref().and_then(Resolution::destination);
        destination.into_iter().flat_map(|destination| destination.cluster.labels.of(&self.found))
    }

    /// How much of its body has come, in bytes.
    pub fn bytes_in(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.bytes.get())
    }

    /// The method.
    pub fn method(&self) -> Cow<'_, str> {
        self.text.method()
    }

    /// The host that it asks for, with the port if that was said.
    pub fn host(&self) -> Cow<'_, str> {
        self.text.host()
    }

    /// The path without the query.
    pub fn path(&self) -> Cow<'_, str> {
        self.text.path()
    }

    /// Its `x-request-id`, brought or made.
    pub fn id(&self) -> Cow<'_, str> {
        self.text.id()
    }
}

impl Story {
    /// What has been told so far.
    pub fn told(&self) -> Ref<'_, Told> {
        self.0.borrow()
    }

    /// A request came, as `parts` have it. `made` is for an id, should it need one.
    pub fn arrives(&self, parts: &request::Parts, made: [u64; 2]) {
        self.0.borrow_mut().text.arrives(parts, made);
    }

    /// Its body is to come.
    pub fn has_body(&self, progress: Rc<Progress>) {
        self.0.borrow_mut().body = Some(progress);
    }

    /// So much of its answer goes down.
    pub fn sends(&self, bytes: usize) {
        self.0.borrow_mut().bytes_out += bytes as u64;
    }

    /// Who sends it, and for which port, where that is known without its host.
    pub fn comes_from(&self, source: SocketAddr, caller: Option<&Rc<Caller>>, port: Option<u16>) {
        let told = &mut *self.0.borrow_mut();
        (told.source, told.caller) = (Some(source), caller.cloned());
        told.text.comes_for(port);
    }

    /// Its head has been found in order, and has names for it or not. `traces` reads that of its trace; W3C's where nobody is told of traces.
    pub fn is_named(&self, head: &RequestHead, named: bool, grpc: bool, traces: Option<&Traces>) {
        let told = &mut *self.0.borrow_mut();
        told.grpc = grpc;
        if !named {
            return;
        }
        if let Some(id) = head.header(&REQUEST_ID) {
            told.text.is_named(id);
        }
        told.trace = traces.map_or_else(|| context::w3c(head), |traces| traces.read(head));
        if let Some(trace) = told.trace.as_mut().filter(|trace| trace.id == TraceId::NONE) {
            trace.id = told.text.with_id(TraceId::of_request);
        }
    }

    /// Its place in its trace is known.
    pub fn is_placed(&self, trace: Trace) {
        self.0.borrow_mut().trace = Some(trace);
    }

    /// Its place in its trace, if that is told of.
    pub fn traced(&self) -> Option<Trace> {
        self.0.borrow().trace.filter(|trace| trace.span != 0)
    }

    /// What its id is made of, where it brought none.
    pub fn made(&self) -> [u64; 2] {
        self.0.borrow().text.made()
    }

    /// By which release it was looked for.
    pub fn is_routed_by(&self, release: (u64, u64)) {
        self.0.borrow_mut().release = release;
    }

    /// It has met its rule.
    pub fn goes_to(&self, resolution: Resolution) {
        self.0.borrow_mut().resolution = Some(resolution);
    }

    /// Someone may be told of it: keeps what its labels are read from, as its head goes on.
    pub fn is_labelled(&self, labels: &Labels, head: &RequestHead) {
        if labels.are_looked_for() {
            self.0.borrow_mut().found.look(labels, head);
        }
    }

    /// The workload's own calls find it so.
    pub fn is_remembered(&self, lineage: Names) {
        self.0.borrow_mut().lineage = lineage;
    }

    /// Nobody waits for it after `deadline_ns`.
    pub fn ends_by(&self, deadline_ns: u64) {
        self.0.borrow_mut().deadline_ns = deadline_ns;
    }

    /// It is sent to `address`; the number of this try.
    pub fn is_sent(&self, address: SocketAddr, started_ns: u64, hedge: bool) -> u16 {
        let told = &mut *self.0.borrow_mut();
        if told.tries.len() >= TRIES_MAX {
            told.tries_omitted += 1;
            return u16::MAX;
        }
        told.tries.push(Attempted::new(address, started_ns, hedge));
        (told.tries.len() - 1) as u16
    }

    /// Writes down what became of a try; of one for which there was no room, nothing.
    pub fn attempt(&self, number: u16, write: impl FnOnce(&mut Attempted)) {
        if let Some(attempted) = self.0.borrow_mut().tries.get_mut(usize::from(number)) {
            write(attempted);
        }
    }

    /// The number of the try that began last.
    pub fn last(&self) -> u16 {
        (self.0.borrow().tries.len() as u16).wrapping_sub(1)
    }

    /// It failed with `error` at `at_ns`. The first that is said of its end counts: what follows from that is no news.
    pub fn fails(&self, error: &ProxyError, at_ns: u64) {
        self.ends(|told| {
            let (started_ns, deadline_ns) = (told.started_ns, told.deadline_ns);
            let sent_ns = told.tries.last().map_or(started_ns, |attempted| attempted.started_ns);
            let times = Times { started_ns, sent_ns, deadline_ns };
            Ending::of(error, told.resolution.as_ref(), times, at_ns)
        });
    }

    /// Its answer came to nothing, or to nothing good.
    pub fn mishap(&self, mishap: Mishap, at_ns: u64) {
        self.ends(|_| Ending::by(mishap, String::new(), at_ns));
    }

    /// Its answer ends with a status that says that the server has failed.
    pub fn call_fails(&self, trailers: &HeaderMap, at_ns: u64) {
        let said = || grpc::said(trailers, GRPC_BYTES_MAX);
        self.ends(|_| Ending::by(UPSTREAM_GRPC_STATUS, said(), at_ns));
    }

    /// The answer to the try of this number is passed on, such as it is; one for which there was no room counts as the last.
    pub fn settles(&self, number: u16, at_ns: u64) {
        let number = number.min(self.last());
        let culprit = self.0.borrow().tries.get(usize::from(number)).and_then(|tried| tried.culprit.clone());
        if let Some(culprit) = culprit {
            let mishap = MISHAPS.into_iter().find(|mishap| mishap.reason == culprit.reason);
            self.ends(|_| Ending::by(mishap.unwrap_or(UPSTREAM_STATUS), culprit.said, at_ns));
        }
    }

    fn ends(&self, ending: impl FnOnce(&Told) -> Ending) {
        let told = &mut *self.0.borrow_mut();
        if told.ending.is_none() {
            told.ending = Some(Box::new(ending(told)));
        }
    }
}

/// Room for the stories of one worker.
#[derive(Debug, Default)]
pub struct Stories(RefCell<Vec<Rc<Story>>>);

impl Stories {
    /// A story that begins.
    pub fn begin(&self, direction: Direction, started_ns: u64) -> Rc<Story> {
        let spare = self.0.borrow_mut().pop();
        let story = spare.unwrap_or_else(|| Rc::new(Story(RefCell::new(Told::new()))));
        {
            let told = &mut *story.0.borrow_mut();
            (told.direction, told.started_ns) = (direction, started_ns);
        }
        story
    }

    /// It has been told, and its room is there for the next. Where someone else still holds it, it is not.
    pub fn end(&self, story: &Rc<Story>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_MAX && Rc::strong_count(story) == 1 {
            story.0.borrow_mut().clear();
            spare.push(story.clone());
        }
    }
}

#[cfg(test)]
mod tests;
