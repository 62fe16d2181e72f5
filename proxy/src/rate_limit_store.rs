//! Counts global rate limits together with other proxies, through a store that speaks the Redis protocol. Runs on the control thread: no
//! request ever waits for it. What is counted and how is [`outrigger_filters::rate_limit`]'s; `docs/RATE-LIMITS.md` says what comes of it.

mod connect;
mod exchange;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use outrigger_filters::rate_limit::link::SYNC_NS;
use outrigger_filters::rate_limit::{Limiter, Link, Round};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::clock;
use crate::config::RateLimitStore;
use crate::source::chain;
use connect::{Connection, connect};

pub use connect::ConnectError;

/// Between two rounds.
const SYNC: Duration = Duration::from_nanos(SYNC_NS);
/// A round with nothing to tell is left out, but not for longer: whoever counts next must know whether the store is there.
const IDLE: Duration = Duration::from_secs(1);
/// Until the store has taken a connection, or answered a round.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Buckets in one round; the rest go with the next, which follows at once.
const KEYS_MAX: usize = 2_048;
/// Before a connection is tried again: at first, and at most. Up to half is taken off by chance.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why a round failed, and with it the connection.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer.
    #[error("no answer in {} s", TIMEOUT.as_secs())]
    Late,
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] Option<redis::RedisError>),
    /// It does not do what it is told.
    #[error("it answered: {0}")]
    Refused(String),
}

/// What became of rounds, in the order of [`RESULTS`].
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; RESULTS.len()]);

/// What can become of a round.
pub const RESULTS: [&str; 5] = ["ok", "unreachable", "timeout", "broken", "refused"];

impl Counts {
    /// Rounds by result.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(self.0.iter().map(|count| count.load(Relaxed)))
    }

    fn add(&self, result: Result<(), &SyncError>) {
        let index = match result {
            Ok(()) => 0,
            Err(SyncError::Connect(_)) => 1,
            Err(SyncError::Late) => 2,
            Err(SyncError::Broken(_)) => 3,
            Err(SyncError::Refused(_)) => 4,
        };
        self.0[index].fetch_add(1, Relaxed);
    }
}

/// The store, as the rest of the proxy sees it.
#[derive(Debug, Clone, Default)]
pub struct StoreStatus {
    /// Whether it answers.
    pub link: Arc<Link>,
    /// What became of rounds.
    pub counts: Rc<Counts>,
}

/// Talks to the store whenever `limits` has any, for ever.
pub async fn run(store: RateLimitStore, status: StoreStatus, limits: impl Fn() -> Vec<Arc<Limiter>>) {
    let (mut pause, mut trouble) = (PAUSE_MIN, None);
    loop {
        let answered = status.link.answered_ns();
        let Err(error) = talk(&store, &status, &limits, &mut trouble).await else {
            // Nothing to count. What comes next begins with a new connection.
            status.link.fail();
            sleep(SYNC).await;
            continue;
        };
        status.link.fail();
        status.counts.add(Err(&error));
        let why = chain(&error);
        if trouble.as_ref() != Some(&why) {
            tracing::warn!(
                "global rate limits are counted by each proxy alone: no use of {store} (--rate-limit-store): {why}"
            );
            trouble = Some(why);
        }
        // One that answered for a while and broke is asked again soon.
        pause = if status.link.answered_ns() == answered { (pause * 2).min(PAUSE_MAX) } else { PAUSE_MIN };
        sleep(pause.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
    }
}

/// Connects, and exchanges rounds until there is nothing to count any more, or something fails.
async fn talk(
    store: &RateLimitStore,
    status: &StoreStatus,
    limits: &impl Fn() -> Vec<Arc<Limiter>>,
    trouble: &mut Option<String>,
) -> Result<(), SyncError> {
    if limits().is_empty() {
        return Ok(());
    }
    let mut connection = connect(store).await?;
    let mut ticks = interval(SYNC);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = None;
    loop {
        ticks.tick().await;
        let limiters = limits();
        if limiters.is_empty() {
            return Ok(());
        }
        let recent = answered.is_some_and(|at: Instant| at.elapsed() < IDLE);
        if recent && !Round::is_due(&limiters) && !connection.is_broken() {
            continue;
        }
        while sync(&mut connection, &limiters, status).await? == KEYS_MAX {}
        answered = Some(Instant::now());
        if trouble.take().is_some() {
            tracing::info!("global rate limits are counted together again: {store} answers");
        }
    }
}

/// One round; how many buckets were in it.
async fn sync(
    connection: &mut Connection,
    limiters: &[Arc<Limiter>],
    status: &StoreStatus,
) -> Result<usize, SyncError> {
    // What would be lost on a connection that is known to be broken waits for the next.
    if connection.is_broken() {
        return Err(SyncError::Broken(None));
    }
    let asked_ns = clock::now_ns();
    status.link.ask(asked_ns);
    let round = Round::collect(limiters, KEYS_MAX);
    let count = round.entries().len();
    let result = exchange::exchange(connection, &round).await;
    let now_ns = clock::now_ns();
    match result {
        Ok(answer) => {
            round.settle(answer.buckets, now_ns);
            let store_ns = answer.store_ns.map_err(SyncError::Refused)?;
            status.link.answer(asked_ns, now_ns, store_ns);
            status.counts.add(Ok(()));
            Ok(count)
        }
        Err(error) => {
            round.settle([], now_ns);
            Err(error)
        }
    }
}
