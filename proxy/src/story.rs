//! What is known of one request, for those who ask once it is over: counters, and people who want to know why it failed.
//!
//! A request's story is written while it goes its way, into room that its worker uses again and again: nothing is allocated for it, and
//! nothing of it is anyone else's memory. What few requests meet stands in boxes.

use std::cell::{Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use http::header::{self, HeaderMap};
use http::request;
use outrigger_snapshot::head::RequestHead;

use crate::caller::Caller;
use crate::error::ProxyError;
use crate::grpc;
use crate::http::forwarded::{REQUEST_ID, made_id};
use crate::lineage::Names;
use crate::local_reply::{MISHAPS, Mishap, UPSTREAM_GRPC_STATUS, UPSTREAM_STATUS};
use crate::plan::Resolution;
use crate::telemetry::metrics::Direction;

pub use self::attempt::{Attempted, Culprit, Milestones};
pub use self::ending::{Ending, Fired};
pub use self::trace::TraceId;

mod attempt;
mod ending;
mod trace;

/// Bytes of a path that are kept; what is longer is cut.
const PATH_BYTES_MAX: usize = 512;
/// The same of a host, which is no longer where it is valid (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 255;
/// The same of a request id.
const ID_BYTES_MAX: usize = 128;
/// The same of what a server says of a call that it failed.
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
    /// The trace that it is part of.
    pub trace: Option<TraceId>,
    /// Whether it is a gRPC call.
    pub grpc: bool,
    /// Every time it was sent, in the order of beginning.
    pub tries: Vec<Attempted>,
    /// Those for which there was no room.
    pub tries_omitted: u32,
    /// What became of it, where that is not simply an answer.
    pub ending: Option<Box<Ending>>,
    /// Method, host, path and id, one after the other.
    text: Vec<u8>,
    /// Where the first three of them end.
    ends: [u16; 3],
    /// What the id is made of, where the client brought none.
    made: [u64; 2],
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
            text: Vec::new(),
            ends: [0; 3],
            made: [0; 2],
        }
    }

    /// Forgets everything and keeps the room.
    fn clear(&mut self) {
        let (mut tries, mut text) = (std::mem::take(&mut self.tries), std::mem::take(&mut self.text));
        tries.clear();
        text.clear();
        *self = Self { tries, text, ..Self::new() };
    }

    fn part(&self, from: usize, to: usize) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.text.get(from..to).unwrap_or_default())
    }

    /// The method.
    pub fn method(&self) -> std::borrow::Cow<'_, str> {
        self.part(0, self.ends[0].into())
    }

    /// The host that it asks for, with the port if that was said.
    pub fn host(&self) -> std::borrow::Cow<'_, str> {
        self.part(self.ends[0].into(), self.ends[1].into())
    }

    /// The path without the query, which may hold what nobody should read; cut where it is long.
    pub fn path(&self) -> std::borrow::Cow<'_, str> {
        self.part(self.ends[1].into(), self.ends[2].into())
    }

    /// Its `x-request-id`, brought or made.
    pub fn id(&self) -> std::borrow::Cow<'_, str> {
        let start = usize::from(self.ends[2]);
        if self.text.len() > start {
            return self.part(start, self.text.len());
        }
        let made = made_id(self.made);
        String::from_utf8_lossy(&made).into_owned().into()
    }
}

impl Story {
    /// What has been told so far.
    pub fn told(&self) -> Ref<'_, Told> {
        self.0.borrow()
    }

    /// A request came, as `parts` have it. `made` is for an id, should it need one.
    pub fn arrives(&self, parts: &request::Parts, made: [u64; 2]) {
        let told = &mut *self.0.borrow_mut();
        told.made = made;
        told.text.extend_from_slice(parts.method.as_str().as_bytes());
        told.ends[0] = told.text.len() as u16;
        let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = named.or_else(|| parts.headers.get(header::HOST).map(|host| host.as_bytes()));
        told.text.extend(cut(host.unwrap_or_default(), HOST_BYTES_MAX));
        told.ends[1] = told.text.len() as u16;
        told.text.extend(cut(parts.uri.path().as_bytes(), PATH_BYTES_MAX));
        told.ends[2] = told.text.len() as u16;
    }

    /// Who sends it.
    pub fn comes_from(&self, source: SocketAddr, caller: Option<&Rc<Caller>>) {
        let told = &mut *self.0.borrow_mut();
        (told.source, told.caller) = (Some(source), caller.cloned());
    }

    /// Its head has been found in order, and has names for it or not.
    pub fn is_named(&self, head: &RequestHead, named: bool, grpc: bool) {
        let told = &mut *self.0.borrow_mut();
        told.grpc = grpc;
        if !named {
            return;
        }
        told.trace = trace::of(head);
        if let Some(id) = head.header(&REQUEST_ID) {
            told.text.truncate(told.ends[2].into());
            told.text.extend(cut(id.as_bytes(), ID_BYTES_MAX));
        }
    }

    /// What its id is made of, where it brought none.
    pub fn made(&self) -> [u64; 2] {
        self.0.borrow().made
    }

    /// By which release it was looked for.
    pub fn is_routed_by(&self, release: (u64, u64)) {
        self.0.borrow_mut().release = release;
    }

    /// It has met its rule.
    pub fn goes_to(&self, resolution: Resolution) {
        self.0.borrow_mut().resolution = Some(resolution);
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
            let times = (told.started_ns, told.deadline_ns);
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

    /// The answer to its last try is passed on, such as it is.
    pub fn settles(&self, at_ns: u64) {
        let culprit = self.0.borrow().tries.last().and_then(|last| last.culprit.clone());
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

/// The first bytes of `text`, as far as there is room.
fn cut(text: &[u8], room: usize) -> &[u8] {
    &text[..text.len().min(room)]
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
