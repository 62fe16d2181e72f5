//! A second try beside the first, where the first takes longer than most. The first answer wins, and the other try is given up.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::send::{Failed, send};
use super::{Answer, Prepared, Tries, permit, pick, remaining_ms};
use crate::clock;
use crate::passage::Attempt;
use crate::worker::Worker;

type Sent = Result<Box<Answer>, Box<Failed>>;

impl Prepared {
    /// For how long the first try is waited for alone; `None`: the request is not hedged. A body would have to be sent to both.
    pub(super) fn hedge_ns(&self, tries: &Tries) -> Option<u64> {
        let hedge = self.cluster.hedge.as_ref()?;
        let first = tries.counted + tries.uncounted == 0;
        (first && self.outgoing.safe && self.outgoing.is_bodiless()).then(|| {
            let most_ns = self.cluster.load.answers.read().unwrap_or_default();
            most_ns.max(hedge.delay_min_ms.saturating_mul(1_000_000))
        })
    }

    /// Sends a request, and a second time elsewhere if no answer has come for `delay_ns`; gives back the try that was answered first.
    pub(super) async fn hedged(
        &mut self,
        worker: &Worker,
        first: Attempt,
        tries: &mut Tries,
        delay_ns: u64,
    ) -> (Attempt, Sent) {
        let (cluster, key, deadline_ns) = (self.cluster.clone(), self.key, self.deadline_ns);
        let budget = self.budget();
        let stats = self.resolution.stats().shard(worker.index);
        let twin = self.outgoing.twin();
        let mut watch = self.watch.twin(worker);
        let own = send(worker, &cluster, &first, &mut self.outgoing, &mut self.watch, false);
        // In a block, so that both tries are over before one of them is handed out.
        let (second, sent) = {
            let mut own = pin!(own);
            let late = pin!(tokio::time::sleep(Duration::from_nanos(delay_ns)));
            let second = match select(own.as_mut(), late).await {
                Either::Left((sent, _)) => Err(sent),
                Either::Right(_) => {
                    let now_ns = clock::now_ns();
                    let other = pick(worker, &cluster, key, tries, now_ns).ok().filter(|(_, known)| !known);
                    let slowest = cluster.hedge.as_ref().map_or(0, |hedge| 100 - hedge.percentile.min(100));
                    let allowed = || cluster.load.retries.withdraw_hedge(&budget, slowest.into(), now_ns);
                    let start = |endpoint| {
                        let permit = permit(worker, &cluster, now_ns).ok()?;
                        Some(Attempt::start(endpoint, permit, now_ns, deadline_ns))
                    };
                    Ok(other.filter(|_| allowed()).and_then(|(endpoint, _)| start(endpoint)).zip(twin))
                }
            };
            match second {
                Err(sent) => (None, sent),
                Ok(None) => (None, own.await),
                Ok(Some((attempt, mut twin))) => {
                    stats.hedges.add(1);
                    watch.restart(attempt.started_ns());
                    twin.remind(remaining_ms(deadline_ns, attempt.started_ns()));
                    let won = race(own, send(worker, &cluster, &attempt, &mut twin, &mut watch, false)).await;
                    match won {
                        Either::Left(sent) => (None, sent),
                        Either::Right(sent) => {
                            stats.hedge_wins.add(1);
                            (Some(attempt), sent)
                        }
                    }
                }
            }
        };
        (second.unwrap_or(first), sent)
    }
}

/// Whichever succeeds first; if neither does, whichever fails last.
async fn race(
    first: impl Future<Output = Sent> + Unpin,
    second: impl Future<Output = Sent>,
) -> Either<Sent, Sent> {
    let good = |sent: &Sent| sent.as_ref().is_ok_and(|answer| !answer.response.status().is_server_error());
    match select(first, pin!(second)).await {
        Either::Left((sent, _)) if good(&sent) => Either::Left(sent),
        Either::Left((_, second)) => Either::Right(second.await),
        Either::Right((sent, _)) if good(&sent) => Either::Right(sent),
        Either::Right((_, first)) => Either::Left(first.await),
    }
}
