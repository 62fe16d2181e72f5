//! A second try beside the first, where the first takes longer than most. The first good answer wins, and the other try is given up.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::future::{Either, select};
use http::StatusCode;

use super::answered::{outcome, peek};
use super::course::{Course, Tries};
use super::outgoing::Outgoing;
use super::send::{Failed, discard, send};
use super::watch::Watch;
use super::{Answer, Prepared, budget, permit, pick};
use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::endpoint::Outcome;
use crate::http::body::Body;
use crate::lineage::Parent;
use crate::passage::Attempt;
use crate::plan::Resolution;
use crate::sweep::Timer;
use crate::worker::Worker;

/// What a hedge says that it is: as little a first try as a retry, which whoever has too much to do lets go of before others.
const HEDGE_NUMBER: u32 = 2;

pub(super) type Sent = Result<Box<Answer>, Box<Failed>>;

/// What a second try is made of, once there is to be one.
pub(super) struct Aside<'a> {
    pub(super) worker: &'a Worker,
    pub(super) cluster: &'a Cluster,
    pub(super) resolution: &'a Resolution,
    pub(super) outgoing: &'a Outgoing,
    pub(super) parent: Option<Parent>,
    pub(super) key: Option<u64>,
    pub(super) deadline_ns: u64,
}

impl Prepared {
    /// When a try that started now has taken longer than most; `u64::MAX`: it is not hedged.
    pub(super) fn late_ns(&self, started_ns: u64) -> u64 {
        let Course { tries, outgoing, .. } = &self.course;
        let first = tries.counted + tries.uncounted == 0;
        match &self.cluster.hedge {
            Some(hedge) if first && outgoing.safe && outgoing.has_twin() => {
                let most_ns = self.cluster.load.answers.read().unwrap_or_default();
                started_ns.saturating_add(most_ns.max(hedge.delay_min_ms.saturating_mul(1_000_000)))
            }
            _ => u64::MAX,
        }
    }
}

/// Waits for a try until `late_ns`; `None`: it takes longer. Nothing is made before it does. No `async fn`: the arguments of one stand twice in
/// its future.
pub(super) fn alone(
    worker: &Worker,
    mut own: Pin<&mut impl Future<Output = Sent>>,
    late_ns: u64,
) -> impl Future<Output = Option<Sent>> {
    let mut timer = None;
    poll_fn(move |context| {
        if let Poll::Ready(sent) = own.as_mut().poll(context) {
            return Poll::Ready(Some(sent));
        }
        if late_ns != u64::MAX {
            let timer = timer.get_or_insert_with(|| Timer::new(&worker.sweep));
            if timer.fired() {
                return Poll::Ready(None);
            }
            timer.arm(late_ns, context.waker());
        }
        Poll::Pending
    })
}

/// Sends a request a second time, elsewhere, if that may be, beside its `first` try, which is `own`; gives back what it came to, and the
/// second try if that is its own.
pub(super) async fn beside(
    aside: Aside<'_>,
    own: Pin<&mut impl Future<Output = Sent>>,
    first: &Attempt,
    tries: &mut Tries,
) -> (Option<Box<Attempt>>, Sent) {
    let Aside { worker, cluster, resolution, outgoing, .. } = aside;
    let Some((attempt, twin)) = start(&aside, tries) else { return (None, own.await) };
    let seldom = resolution.stats().shard(worker.index).seldom();
    seldom.hedges.add(1);
    let mut watch = Watch::new(worker, cluster, &resolution.rule, &Body::Empty, attempt.started_ns());
    let won = {
        let own = pin!(judged(own, twin.grpc));
        let second = pin!(judged(send(worker, cluster, &attempt, &twin, &mut watch, false), twin.grpc));
        let one = Runner { cluster, attempt: first, outgoing, sent: own };
        let two = Runner { cluster, attempt: &attempt, outgoing: &twin, sent: second };
        race(one, two).await
    };
    match won {
        Either::Left(sent) => (None, sent),
        Either::Right(sent) => {
            seldom.hedge_wins.add(u64::from(is_good(&sent, twin.grpc)));
            (Some(Box::new(attempt)), sent)
        }
    }
}

/// A second try, if there is another endpoint, and the budget and the breaker allow it.
fn start(aside: &Aside<'_>, tries: &mut Tries) -> Option<(Attempt, Outgoing)> {
    let Aside { worker, cluster, resolution, outgoing, parent, key, deadline_ns } = aside;
    let shard = resolution.stats().shard(worker.index);
    let now_ns = clock::now_ns();
    // It would likely come too late.
    if now_ns.saturating_add(shard.usual.read().unwrap_or(0)) >= *deadline_ns {
        return None;
    }
    let mut twin = outgoing.twin()?;
    let picked = pick(worker, cluster, *key, tries, &shard.picks, now_ns);
    let (endpoint, _) = picked.ok().filter(|(_, known)| !known)?;
    let slowest = cluster.hedge.as_ref().map_or(0, |hedge| 100 - hedge.percentile.min(100));
    if !cluster.load.retries.withdraw_hedge(&budget(cluster, *parent), slowest.into(), now_ns) {
        return None;
    }
    let permit = permit(worker, cluster, now_ns).ok()?;
    twin.begins(endpoint.address(), now_ns, true);
    twin.number(HEDGE_NUMBER);
    Some((Attempt::start(endpoint, permit, now_ns, *deadline_ns), twin))
}

/// One of two tries that are under way.
struct Runner<'a, F> {
    cluster: &'a Cluster,
    attempt: &'a Attempt,
    outgoing: &'a Outgoing,
    sent: Pin<&'a mut F>,
}

impl<F> Runner<'_, F> {
    /// It has come to nothing, and the other goes on. That says as much of its endpoint as if there were no other.
    async fn fails(self, sent: Sent) {
        let Self { cluster, attempt, outgoing, .. } = self;
        let now_ns = clock::now_ns();
        if let Some(outcome) = outcome(&sent, outgoing.grpc) {
            attempt.answered(outcome, now_ns);
        }
        outgoing.ended(cluster, outgoing.try_number.get(), &sent, attempt.endpoint(), now_ns);
        if let Ok(answer) = sent {
            discard(answer).await;
        }
    }
}

/// Whichever succeeds first, and the other is given up; if neither does, whichever fails last.
async fn race<F: Future<Output = Sent>, G: Future<Output = Sent>>(
    mut one: Runner<'_, F>,
    mut two: Runner<'_, G>,
) -> Either<Sent, Sent> {
    let grpc = two.outgoing.grpc;
    let ended = match select(one.sent.as_mut(), two.sent.as_mut()).await {
        Either::Left((sent, _)) => Either::Left(sent),
        Either::Right((sent, _)) => Either::Right(sent),
    };
    match ended {
        Either::Left(sent) if !is_good(&sent, grpc) => {
            one.fails(sent).await;
            Either::Right(two.sent.await)
        }
        Either::Right(sent) if !is_good(&sent, grpc) => {
            two.fails(sent).await;
            Either::Left(one.sent.await)
        }
        good => good,
    }
}

/// A try with as much of its answer as says whether it is good: a gRPC call may yet fail in its trailers.
async fn judged(sent: impl Future<Output = Sent>, grpc: bool) -> Sent {
    let sent = sent.await;
    let open = grpc && sent.as_ref().is_ok_and(|answer| answer.response.status() == StatusCode::OK);
    if open { peek(sent).await } else { sent }
}

fn is_good(sent: &Sent, grpc: bool) -> bool {
    let answered = sent.as_ref().is_ok_and(|answer| !answer.response.status().is_server_error());
    answered && !(grpc && matches!(outcome(sent, grpc), Some(Outcome::Failure | Outcome::Overloaded)))
}
