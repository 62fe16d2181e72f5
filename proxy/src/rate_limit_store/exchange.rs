//! A round as commands, and replies as answers.

use outrigger_filters::rate_limit::{Answer, Round};
use redis::{Pipeline, RedisResult, Value};
use tokio::time::timeout;

use super::connect::Connection;
use super::{SyncError, TIMEOUT};

/// What came back.
pub(super) struct Reply {
    /// The store's clock, in nanoseconds since 1970; the error is what it said instead, or why it counts nothing.
    pub(super) store_ns: Result<u64, String>,
    /// What became of each bucket.
    pub(super) buckets: Vec<Answer>,
}

type Replies = std::vec::IntoIter<RedisResult<Value>>;

/// Sends `round` and waits for the answer.
pub(super) async fn exchange(connection: &mut Connection, round: &Round) -> Result<Reply, SyncError> {
    let pipeline = pipeline(round);
    let replies = timeout(TIMEOUT, pipeline.query_async(&mut connection.commands)).await;
    match replies {
        Ok(Ok(replies)) => Ok(read(round, replies)),
        Ok(Err(error)) => Err(SyncError::Broken(Some(error))),
        Err(_) => Err(SyncError::Late),
    }
}

/// The time, then of each bucket its window and the one before.
fn pipeline(round: &Round) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors().cmd("TIME");
    for entry in round.entries() {
        for (key, count) in [(entry.key(), entry.count()), (entry.previous_key(), entry.late())] {
            if count > 0 {
                pipeline.cmd("INCRBY").arg(&key).arg(count);
                pipeline.cmd("PEXPIRE").arg(&key).arg(entry.kept_ms());
            } else {
                pipeline.cmd("GET").arg(&key);
            }
        }
    }
    pipeline
}

fn read(round: &Round, replies: Vec<RedisResult<Value>>) -> Reply {
    let mut replies = replies.into_iter();
    let mut store_ns = time(&mut replies);
    let mut buckets = Vec::with_capacity(round.entries().len());
    let mut refusal = None;
    for entry in round.entries() {
        let current = total(&mut replies, entry.count());
        let previous = total(&mut replies, entry.late());
        buckets.push(match (current, previous) {
            (Ok(current), Ok(previous)) => Answer::Totals { current, previous },
            (Ok(current), Err(_)) if entry.late() == 0 => Answer::Totals { current, previous: 0 },
            (Err(why), previous) if entry.late() == 0 || previous.is_err() => {
                refusal.get_or_insert(why);
                Answer::Refused
            }
            // One of the two was counted.
            _ => Answer::Unknown,
        });
    }
    // One bucket may be someone else's key; all of them are the store's fault.
    if let Some(why) = refusal.filter(|_| buckets.iter().all(|answer| *answer == Answer::Refused)) {
        store_ns = Err(why);
    }
    Reply { store_ns, buckets }
}

fn next(replies: &mut Replies) -> Result<Value, String> {
    replies.next().ok_or_else(|| "less than it was asked".to_owned())?.map_err(|error| error.to_string())
}

/// Seconds and microseconds.
fn time(replies: &mut Replies) -> Result<u64, String> {
    let parts = match next(replies)? {
        Value::Array(parts) => parts,
        other => vec![other],
    };
    let numbers: Option<Vec<u64>> = parts.into_iter().map(number).collect();
    match numbers.as_deref() {
        Some([seconds, micros]) => {
            Ok(seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1_000)))
        }
        _ => Err("no time".to_owned()),
    }
}

/// What is counted at one key, after `count` were added to it.
fn total(replies: &mut Replies, count: u64) -> Result<u64, String> {
    let total = next(replies);
    if count > 0 {
        // Whether it expires: if not, because it could not be counted.
        let _ = next(replies);
    }
    number(total?).ok_or_else(|| "no number".to_owned())
}

/// Whoever writes less than nothing there has written nothing.
fn number(value: Value) -> Option<u64> {
    match value {
        Value::Nil => Some(0),
        Value::Int(number) => Some(u64::try_from(number).unwrap_or_default()),
        Value::BulkString(digits) => std::str::from_utf8(&digits).ok()?.parse().ok(),
        _ => None,
    }
}
