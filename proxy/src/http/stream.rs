//! The tasks of HTTP/2 streams. hyper gives a body no turn while its client takes nothing, so that no limit of the body could end it: the
//! task of its stream does, and the stream alone is reset.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::clock;
use crate::sweep::{Sweep, Timer};

/// When to cut a response that its client does not take, in nanoseconds on [`crate::clock`]. Shared by the body, which sets it, and whoever
/// serves the connection or the stream.
#[derive(Debug, Clone)]
pub struct CutAt(Rc<Cell<u64>>);

impl Default for CutAt {
    fn default() -> Self {
        Self(Rc::new(Cell::new(u64::MAX)))
    }
}

impl CutAt {
    /// When; `u64::MAX` while there is nothing to cut.
    pub fn get(&self) -> u64 {
        self.0.get()
    }

    /// Unless the client takes more until then.
    pub fn set(&self, at_ns: u64) {
        self.0.set(at_ns);
    }

    /// There is nothing to cut.
    pub fn clear(&self) {
        self.0.set(u64::MAX);
    }
}

/// Spawns the streams of one connection.
#[derive(Debug, Clone)]
pub struct StreamExecutor {
    sweep: Rc<Sweep>,
    /// Of the stream whose first turn it is.
    current: Rc<RefCell<CutAt>>,
}

impl StreamExecutor {
    /// For a connection of the worker with this sweep.
    pub fn new(sweep: Rc<Sweep>) -> Self {
        Self { sweep, current: Rc::default() }
    }

    /// When the stream whose request is about to be served is cut. To be asked in its first turn.
    pub fn cut_at(&self) -> CutAt {
        self.current.borrow().clone()
    }
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let timer = Timer::new(&self.sweep);
        let (cut_at, current) = (CutAt::default(), Some(self.current.clone()));
        tokio::task::spawn_local(Stream { future, cut_at, current, timer, armed_ns: u64::MAX });
    }
}

pin_project! {
    struct Stream<F> {
        #[pin]
        future: F,
        cut_at: CutAt,
        // Where its first turn finds `cut_at`.
        current: Option<Rc<RefCell<CutAt>>>,
        timer: Timer,
        armed_ns: u64,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if let Some(current) = this.current.take() {
            *current.borrow_mut() = this.cut_at.clone();
        }
        if this.future.poll(context).is_ready() {
            return Poll::Ready(());
        }
        let cut_ns = this.cut_at.get();
        if this.timer.fired() && cut_ns <= clock::now_ns() {
            return Poll::Ready(());
        }
        // Later is found out when it fires.
        if cut_ns != u64::MAX && (!this.timer.armed() || cut_ns < *this.armed_ns) {
            this.timer.arm(cut_ns, context.waker());
            *this.armed_ns = cut_ns;
        }
        Poll::Pending
    }
}
