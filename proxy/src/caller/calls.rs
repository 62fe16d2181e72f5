//! How the requests of callers were answered, by who they have proved to be. A connection holds the counters of its caller: only its
//! handshake looks them up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use outrigger_snapshot::identity::SpiffeId;

use crate::telemetry::exposition::Exposition;
use crate::telemetry::fading::Fading;
use crate::telemetry::kind::OVERFLOW;
use crate::telemetry::metrics::Counter;

/// Callers that are told apart; those beyond are counted as one.
const CALLERS_MAX: usize = 1000;
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests of one caller to one worker, which alone writes to it.
#[derive(Debug, Default)]
pub struct Calls([Counter; CLASSES.len()]);

impl Calls {
    /// Counts one that gets this status.
    pub fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len());
        self.0[class - 1].add(1);
    }
}

/// Those of each worker, by its number.
type ByWorker = BTreeMap<usize, Arc<Calls>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Callers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    named: BTreeMap<Arc<str>, Caller>,
    others: ByWorker,
}

#[derive(Debug, Default)]
struct Caller {
    workers: ByWorker,
    fading: Fading,
}

fn of_class(workers: &ByWorker, class: usize) -> u64 {
    workers.values().map(|calls| calls.0[class].value()).fold(0, u64::wrapping_add)
}

impl Caller {
    /// Whether it is no longer connected, and has said nothing for long.
    fn is_gone(&self, now_ns: u64) -> bool {
        let total = (0..CLASSES.len()).map(|class| of_class(&self.workers, class)).fold(0, u64::wrapping_add);
        let connected = self.workers.values().any(|calls| Arc::strong_count(calls) > 1);
        self.fading.is_gone(total, now_ns) && !connected
    }
}

impl Callers {
    /// The counters of a caller that has just proved who it is, for one worker.
    pub fn calls(&self, identity: &SpiffeId, worker: usize) -> Arc<Calls> {
        let mut known = self.lock();
        let Known { named, others } = &mut *known;
        let identity = identity.as_str();
        let is_told_apart = named.len() < CALLERS_MAX || named.contains_key(identity);
        let calls = match is_told_apart {
            true => &mut named.entry(identity.into()).or_default().workers,
            false => others,
        };
        calls.entry(worker).or_default().clone()
    }

    /// Writes them; those of callers beyond the known even where there are none. Whoever has not called for long is forgotten, and makes
    /// room for others.
    pub fn write(&self, now_ns: u64, exposition: &mut Exposition) {
        let mut known = self.lock();
        known.named.retain(|_, caller| !caller.is_gone(now_ns));
        let family = exposition.counter(
            "outrigger_caller_requests_total",
            "Requests to the workload that were answered, by who has proved to have made them.",
        );
        let named = known.named.iter().map(|(name, caller)| (&**name, &caller.workers));
        for (caller, calls) in named.chain([(OVERFLOW, &known.others)]) {
            for (index, class) in CLASSES.iter().enumerate() {
                let count = of_class(calls, index);
                if count > 0 || caller == OVERFLOW {
                    family.sample(&[("caller", caller), ("code_class", class)], count);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(callers: &Callers) -> String {
        written_at(callers, 0)
    }

    fn written_at(callers: &Callers, now_ns: u64) -> String {
        let mut exposition = Exposition::new();
        callers.write(now_ns, &mut exposition);
        exposition.finish()
    }

    fn shop(number: usize) -> SpiffeId {
        format!("spiffe://mesh.test/ns/default/svc/shop-{number}").parse().unwrap()
    }

    #[test]
    fn callers_are_counted_over_all_workers_and_connections() {
        let callers = Callers::default();
        for (worker, status) in [(0, 200), (0, 204), (1, 200), (1, 503), (1, 101)] {
            callers.calls(&shop(1), worker).answered(StatusCode::from_u16(status).unwrap());
        }
        let text = written(&callers);
        for (class, count) in [("1xx", 1), ("2xx", 3), ("5xx", 1)] {
            let sample = format!("caller=\"{}\",code_class=\"{class}\"}} {count}\n", shop(1));
            assert!(text.contains(&sample), "{sample}{text}");
        }
        assert!(!text.contains("shop-1\",code_class=\"4xx\""), "{text}");
    }

    #[test]
    fn callers_beyond_the_bound_are_one() {
        let callers = Callers::default();
        for number in 0..CALLERS_MAX + 2 {
            callers.calls(&shop(number), 0).answered(StatusCode::OK);
        }
        callers.calls(&shop(0), 0).answered(StatusCode::OK);
        let text = written(&callers);
        assert!(text.contains(&format!("caller=\"{}\",code_class=\"2xx\"}} 2\n", shop(0))));
        assert!(text.contains("caller=\"__overflow__\",code_class=\"2xx\"} 2\n"), "{text}");
        assert!(!text.contains(&format!("\"{}\"", shop(CALLERS_MAX))));
    }

    #[test]
    fn callers_that_are_gone_for_ten_minutes_make_room() {
        use crate::telemetry::kinds::IDLE_NS;
        let callers = Callers::default();
        for number in 0..CALLERS_MAX {
            callers.calls(&shop(number), 0).answered(StatusCode::OK);
        }
        let connected = callers.calls(&shop(1), 0);
        assert!(written_at(&callers, 7).contains(&format!("\"{}\"", shop(0))));
        let text = written_at(&callers, 7 + IDLE_NS);
        assert!(!text.contains(&format!("\"{}\"", shop(0))) && text.contains(&format!("\"{}\"", shop(1))));
        callers.calls(&shop(CALLERS_MAX), 0).answered(StatusCode::OK);
        connected.answered(StatusCode::OK);
        let text = written_at(&callers, 7 + IDLE_NS);
        assert!(text.contains(&format!("\"{}\"", shop(CALLERS_MAX))), "there is room for it");
        assert!(text.contains(&format!("caller=\"{}\",code_class=\"2xx\"}} 2\n", shop(1))), "{text}");
    }
}
