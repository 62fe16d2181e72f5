//! What became of requests on their way, as a scrape sees it: where they were sent, how often, and what kept them from it. What has not
//! happened is left out.

use super::exposition::Exposition;
use super::metrics::{ATTEMPT_BOUNDS, Counter, OVERHEAD_BOUNDS_NS, RequestShard};
use super::seldom::Seldom;
use crate::cluster::balance::PICK_REASONS;
use crate::deadline::STAGES;
use crate::error::LIMITS;
use crate::local_reply::reasons;
use crate::retry::{OBSTACLES, REASONS};

/// Labels of a series of requests.
type Base<'a> = [(&'static str, &'a str); 3];

/// Writes the decisions on the requests of one rule to one cluster.
pub(super) fn write_tries(base: Base<'_>, shards: &[&RequestShard], exposition: &mut Exposition) {
    write_attempts(base, shards, exposition);
    write_picks(base, exposition, |reason| sum(shards, |shard| &shard.picks[reason]));
    let seldom: Vec<&Seldom> = shards.iter().filter_map(|shard| shard.seldom_met()).collect();
    if !seldom.is_empty() {
        write_seldom(base, &seldom, exposition);
    }
}

/// Writes what endpoints were picked for, of requests or connections.
pub(super) fn write_picks(base: Base<'_>, exposition: &mut Exposition, count: impl Fn(usize) -> u64) {
    let [direction, rule, cluster] = base;
    for (index, reason) in PICK_REASONS.iter().enumerate() {
        let count = count(index);
        if count > 0 {
            exposition
                .counter("outrigger_picks_total", "Endpoints picked for tries, by what decided.")
                .sample(&[direction, rule, cluster, ("reason", reason)], count);
        }
    }
}

fn write_attempts(base: Base<'_>, shards: &[&RequestShard], exposition: &mut Exposition) {
    let bucket = |index: usize| sum(shards, |shard| &shard.attempts[index]);
    let all = sum(shards, |shard| &shard.attempts_sum);
    if all > 0 {
        let bounds = ATTEMPT_BOUNDS.iter().enumerate();
        exposition
            .histogram("outrigger_request_attempts", "How often requests were sent, hedges included.")
            .sample(
                &base,
                bounds.map(|(index, bound)| (f64::from(*bound), bucket(index))),
                bucket(ATTEMPT_BOUNDS.len()),
                all as f64,
            );
    }
    let bucket = |index: usize| sum(shards, |shard| &shard.overhead[index]);
    let all_ns = sum(shards, |shard| &shard.overhead_ns);
    if all_ns > 0 {
        let bounds = OVERHEAD_BOUNDS_NS.iter().enumerate();
        exposition
            .histogram("outrigger_request_overhead_seconds", "From the request head to the first try.")
            .sample(
                &base,
                bounds.map(|(index, bound)| (*bound as f64 / 1e9, bucket(index))),
                bucket(OVERHEAD_BOUNDS_NS.len()),
                all_ns as f64 / 1e9,
            );
    }
}

/// What is counted by a word: family, help, label, its words, and the counters of them.
type ByWord<'a> =
    (&'static str, &'static str, &'static str, &'a [&'static str], fn(&Seldom, usize) -> &Counter);

fn write_seldom(base: Base<'_>, shards: &[&Seldom], exposition: &mut Exposition) {
    let by_word: [ByWord<'_>; 4] = [
        (
            "outrigger_retries_total",
            "Tries beyond a request's first, by what made them.",
            "reason",
            &REASONS,
            |shard, index| &shard.retries[index],
        ),
        (
            "outrigger_retry_obstacles_total",
            "Failures that were not tried again, by what forbade it.",
            "obstacle",
            &OBSTACLES,
            |shard, index| &shard.retry_obstacles[index],
        ),
        (
            "outrigger_limit_refused_total",
            "Requests refused by a limit of the cluster.",
            "kind",
            &LIMITS,
            |shard, index| &shard.limited[index],
        ),
        (
            "outrigger_deadline_exceeded_total",
            "Requests whose time was over, by what they were at.",
            "stage",
            &STAGES,
            |shard, index| &shard.overdue[index],
        ),
    ];
    let [direction, rule, cluster] = base;
    for (family, help, label, words, counter) in by_word {
        for (index, word) in words.iter().enumerate() {
            let count = sum(shards, |shard| counter(shard, index));
            if count > 0 {
                exposition.counter(family, help).sample(&[direction, rule, cluster, (label, word)], count);
            }
        }
    }
    for (index, (reason, fault)) in reasons().enumerate() {
        let count = sum(shards, |shard| &shard.failures.0[index]);
        if count > 0 {
            exposition
                .counter(
                    "outrigger_request_failures_total",
                    "Requests that failed, whatever their status, by reason.",
                )
                .sample(&[direction, rule, cluster, ("reason", reason), ("fault", fault.as_label())], count);
        }
    }
    let hedges = sum(shards, |shard| &shard.hedges);
    if hedges > 0 {
        exposition
            .counter("outrigger_hedges_total", "Tries sent beside a request's first.")
            .sample(&base, hedges);
        exposition
            .counter("outrigger_hedge_wins_total", "Hedges that were answered before the first try.")
            .sample(&base, sum(shards, |shard| &shard.hedge_wins));
    }
    let answers = sum(shards, |shard| &shard.retry_answers);
    if answers > 0 {
        exposition
            .counter("outrigger_retry_answers_total", "Requests that were answered after a retry.")
            .sample(&base, answers);
    }
}

/// Adds up one counter of every shard.
fn sum<T>(shards: &[&T], counter: impl Fn(&T) -> &Counter) -> u64 {
    shards.iter().map(|shard| counter(shard).value()).fold(0, u64::wrapping_add)
}
