//! How a proxy ends: who wishes it, and what is waited for.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::Config;
use crate::crew::Crew;
use crate::overview::Overview;
use crate::signals::{Signals, Turn, Wish, tell};
use crate::source::end_in_order;
use crate::state_dir::StateDir;
use crate::worker::Phase;

/// How often a drain looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// Waits until someone wants the process to end that has not begun to serve.
pub(super) async fn told_to_end(signals: &mut Signals, overview: &Overview) {
    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                // The store is being looked at.
                Wish::PollNow => {}
                Wish::Reopen => overview.tellers.reopen(),
                Wish::Drain | Wish::Stop => return,
            },
            () = overview.drain.notified() => return,
            () = overview.shutdown.notified() => return,
        }
    }
}

/// Waits for a reason to end, and ends as it asks; whether nothing was cut that was to be finished.
pub(super) async fn until_the_end(
    config: &Config,
    crew: &Crew,
    overview: &Overview,
    signals: &mut Signals,
    poll_now: &Notify,
    state: &StateDir,
) -> bool {
    loop {
        let wish = tokio::select! {
            wish = signals.next() => wish,
            () = overview.drain.notified() => Wish::Drain,
            () = overview.shutdown.notified() => Wish::Stop,
        };
        match wish {
            Wish::PollNow => {
                poll_now.notify_one();
                if overview.plan.load().is_some() {
                    tell(Turn::Reloading);
                    tell(Turn::Ready);
                }
            }
            Wish::Reopen => overview.tellers.reopen(),
            Wish::Drain => break,
            Wish::Stop => {
                end_in_order(state);
                return true;
            }
        }
    }
    // Now, and not when the drain is over: who does not wait for that kills, which says nothing about the snapshot.
    end_in_order(state);
    tell(Turn::Stopping);
    tokio::select! {
        finished = drain(config, crew) => finished,
        () = told_to_stop(signals, overview) => true,
        () = overview.shutdown.notified() => true,
    }
}

/// Waits until someone does not want to wait for the drain. The last requests have lines in the log, too, which may be moved meanwhile.
async fn told_to_stop(signals: &mut Signals, overview: &Overview) {
    loop {
        match signals.next().await {
            Wish::Reopen => overview.tellers.reopen(),
            Wish::Stop => return,
            Wish::PollNow | Wish::Drain => {}
        }
    }
}

/// Leaves, then drains until nothing is left or the deadline has come; whether nothing was left.
async fn drain(config: &Config, crew: &Crew) -> bool {
    let begun = Instant::now();
    tracing::info!(grace = ?config.drain.grace, deadline = ?config.drain.deadline, "draining");
    crew.enter(Phase::Leaving);
    sleep_until(begun + config.drain.grace).await;
    crew.enter(Phase::DrainingInbound);
    let mut inbound_done = false;
    while Instant::now() < begun + config.drain.deadline {
        sleep(DRAIN_TICK).await;
        if !inbound_done && crew.open_inbound() == 0 {
            // Nobody waits for the workload any more, so it has no more calls to make for anyone.
            inbound_done = true;
            crew.enter(Phase::Draining);
        } else if inbound_done && crew.open_connections() == 0 {
            return true;
        }
    }
    tracing::warn!(connections = crew.open_connections(), "cutting what still runs at the drain deadline");
    false
}
