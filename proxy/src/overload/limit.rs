//! How many requests the application is given at a time: a gradient that asks, after every cut, whether latency followed concurrency.
//!
//! Where it did, the time was spent in the application's own queue, and the cut stays. Where it did not, something behind the application
//! has become slow, to which fewer requests are no help: the limit is given back, and the slower latency is the new normal. In-flight is
//! measured against Little's law (N = X · R): throughput times the latency that is normal is the concurrency worth having.

/// Between two looks at what was observed.
const TICK_NS: u64 = 100_000_000;
/// The same while more are in flight than is worth having: a step of the load fills all the headroom within a tick.
pub const EARLY_TICK_NS: u64 = 25_000_000;
/// Answers that a look needs.
const ANSWERS_MIN: usize = 20;
/// Answers that it needs once it has waited for [`SLOW_TICK_NS`].
const ANSWERS_SLOW_MIN: usize = 5;
const SLOW_TICK_NS: u64 = 1_000_000_000;
/// Below so many answers per second the rule is idle: a median of them says little, and a limit near it would cut too much.
const RATE_MIN: f64 = 10.0;
/// What holds before anything is known, and while the rule is idle: a plain bulkhead.
pub const IDLE: f64 = 1_024.0;
/// Smallest limit worth having.
const LIMIT_MIN: f64 = 8.0;
/// While nothing is wrong the limit stays so far above what is worth having: a dependency that becomes slow needs the room.
const HEADROOM: f64 = 5.0;
/// Largest limit while it is measured.
pub const LIMIT_MAX: f64 = 10_000.0;
/// Latency above the normal by less than this is no standing queue, whatever multiple it is (CoDel's target, RFC 8289 §4.4): 1.5 times
/// 200 µs is noise of the scheduler.
const EXCESS_MIN_S: f64 = 0.005;
/// Logarithmic change of concurrency by which a cut can be judged.
const CUT_MIN: f64 = 0.3;
/// Change of latency, as a share of that of concurrency, from which on latency follows.
const ELASTIC_MIN: f64 = 0.3;
/// Answers to requests sent after the cut, by which it is judged.
const VERDICT_ANSWERS: usize = 20;
/// Kept of those at most.
const VERDICT_ANSWERS_MAX: usize = 1_024;
/// From the cut until one is tried that is large enough to tell.
const FIRST_PROBE_NS: u64 = 1_000_000_000;
/// Between later ones.
const PROBE_NS: u64 = 10_000_000_000;
/// Looks in a row without excess and without a limit reached that end an episode.
const QUIET_TICKS: u32 = 10;

/// One answer of the application.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When the request was sent to it.
    pub sent_ns: u64,
    /// From then to the response head, in seconds.
    pub latency_s: f64,
}

/// What was seen since the last look that led to something.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Now.
    pub now_ns: u64,
    /// Since the last look.
    pub elapsed_ns: u64,
    /// Time-mean of requests in flight.
    pub in_flight_mean: f64,
    /// Requests in flight now.
    pub in_flight: u32,
    /// Answers since the last look.
    pub answers: u64,
    /// Whether any request had to wait or was refused.
    pub refused: bool,
    /// The newest of the answers; reordered here.
    pub samples: &'a mut [Sample],
}

/// What the last look found, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// Allowed latency over found latency; below 1 there is an excess.
    pub gradient: f64,
    /// The normal latency, in seconds.
    pub baseline_s: f64,
    /// The median found, in seconds.
    pub sample_s: f64,
    /// How often a slower latency was accepted as normal.
    pub rebaselines: u64,
}

/// The state machine. It owns no clock: time comes with what was observed.
#[derive(Debug)]
pub struct AdaptiveLimit {
    tolerance: f64,
    limit: f64,
    /// Normal latency in seconds; 0: not known yet.
    base_s: f64,
    /// Throughput that the application has shown to be capable of, per second.
    throughput: f64,
    excesses: u32,
    episode: Option<Episode>,
    reading: Reading,
}

/// Between the first cut and the return to normal.
#[derive(Debug)]
struct Episode {
    judged: bool,
    concurrency_max: f64,
    latency_max_s: f64,
    /// When concurrency had come down to the limit.
    drained_ns: Option<u64>,
    /// Latencies of requests that were sent after that.
    after: Vec<f64>,
    probe_at_ns: u64,
    quiet: u32,
}

impl Episode {
    fn begin(concurrency: f64, latency_s: f64, probe_at_ns: u64) -> Self {
        Self {
            judged: false,
            concurrency_max: concurrency,
            latency_max_s: latency_s,
            drained_ns: None,
            after: Vec::new(),
            probe_at_ns,
            quiet: 0,
        }
    }

    fn await_drain(&mut self, probe_at_ns: u64) {
        self.drained_ns = None;
        self.after.clear();
        self.probe_at_ns = probe_at_ns;
    }
}

/// What a cut has shown.
enum Verdict {
    /// Latency did not follow; it is the new normal, in seconds.
    Inelastic(f64),
    /// It did.
    Elastic,
    /// Concurrency changed too little.
    TooSmall,
}

impl AdaptiveLimit {
    /// A limit that has seen nothing. `tolerance` is the multiple of the normal latency that is still normal: 1.5, or 2 for an
    /// application of few cores, whose natural variance looks like overload.
    pub fn new(tolerance: f64) -> Self {
        Self {
            tolerance,
            limit: IDLE,
            base_s: 0.0,
            throughput: 0.0,
            excesses: 0,
            episode: None,
            reading: Reading::default(),
        }
    }

    /// Requests that may be in flight.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// What the last look found.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Whether a cut is in force.
    pub fn in_episode(&self) -> bool {
        self.episode.is_some()
    }

    /// Looks at what was observed; false: it was too little, and goes on being collected.
    pub fn look(&mut self, observed: &mut Observed<'_>) -> bool {
        let found = observed.samples.len();
        let slow = observed.elapsed_ns >= SLOW_TICK_NS;
        if found < ANSWERS_MIN && !(slow && found >= ANSWERS_SLOW_MIN) {
            return false;
        }
        let throughput = observed.answers as f64 / (observed.elapsed_ns.max(1) as f64 / 1e9);
        if observed.elapsed_ns < TICK_NS {
            return self.look_early(observed, throughput);
        }
        if throughput < RATE_MIN {
            (self.episode, self.excesses, self.limit) = (None, 0, self.limit.max(IDLE));
            return true;
        }
        let latency_s = median(observed.samples.iter().map(|sample| sample.latency_s).collect());
        let limited = observed.refused || f64::from(observed.in_flight) >= 0.95 * self.limit;
        self.learn(latency_s, throughput);
        let allowed_s = self.allowed_s();
        let gradient = allowed_s / latency_s;
        self.excesses = if gradient < 1.0 { self.excesses + 1 } else { 0 };
        let Reading { rebaselines, .. } = self.reading;
        self.reading = Reading { gradient, baseline_s: self.base_s, sample_s: latency_s, rebaselines };
        match self.episode.take() {
            Some(episode) => self.go_on(episode, observed, latency_s, gradient, limited),
            None if self.excesses >= 2 || gradient < 0.5 => {
                self.cut(observed, latency_s);
            }
            None => self.limit = (self.limit + self.limit.sqrt()).min(self.ceiling()),
        }
        true
    }

    /// Looks before the tick is over, for a queue that grows faster than latencies tell: those are of requests that came before it. What who
    /// comes now will find is in flight over throughput (Little's law).
    fn look_early(&mut self, observed: &Observed<'_>, throughput: f64) -> bool {
        let in_flight = f64::from(observed.in_flight);
        let awaits_s = in_flight / throughput;
        let steep = self.base_s > 0.0 && self.episode.is_none() && awaits_s > 2.0 * self.allowed_s();
        // Where fewer answers come than it has shown to be capable of, something behind it has become slow.
        if !steep || throughput < self.throughput {
            return false;
        }
        self.throughput = self.throughput.max(throughput);
        self.reading.gradient = self.allowed_s() / awaits_s;
        self.cut(observed, awaits_s);
        true
    }

    fn cut(&mut self, observed: &Observed<'_>, latency_s: f64) {
        self.limit = self.worth_having();
        let probe_at_ns = observed.now_ns + FIRST_PROBE_NS;
        self.episode = Some(Episode::begin(observed.in_flight_mean, latency_s, probe_at_ns));
    }

    /// Moves what is normal.
    fn learn(&mut self, latency_s: f64, throughput: f64) {
        if self.base_s == 0.0 || latency_s < self.base_s {
            self.base_s = latency_s;
        } else if self.episode.is_none() && latency_s < self.allowed_s() {
            self.base_s += 0.02 * (latency_s - self.base_s);
        }
        if self.episode.is_none() {
            self.throughput = 0.99 * self.throughput.max(throughput) + 0.01 * throughput;
        } else if throughput > self.throughput {
            self.throughput = 0.7 * self.throughput + 0.3 * throughput;
        }
    }

    fn allowed_s(&self) -> f64 {
        (self.tolerance * self.base_s).max(self.base_s + EXCESS_MIN_S)
    }

    /// Little's law.
    fn worth_having(&self) -> f64 {
        (self.throughput * self.allowed_s()).clamp(LIMIT_MIN, LIMIT_MAX)
    }

    fn ceiling(&self) -> f64 {
        (HEADROOM * self.worth_having()).min(LIMIT_MAX)
    }

    fn go_on(
        &mut self,
        mut episode: Episode,
        observed: &Observed<'_>,
        latency_s: f64,
        gradient: f64,
        limited: bool,
    ) {
        let now_ns = observed.now_ns;
        if !episode.judged {
            match self.judge(&mut episode, observed, latency_s) {
                Some(Verdict::Inelastic(base_s)) => {
                    self.base_s = base_s;
                    self.reading.rebaselines += 1;
                    self.limit = self.ceiling();
                    return;
                }
                Some(Verdict::Elastic) => {
                    episode.judged = true;
                    episode.probe_at_ns = now_ns + PROBE_NS;
                }
                Some(Verdict::TooSmall) if now_ns > episode.probe_at_ns => {
                    self.limit = (0.6 * episode.concurrency_max).max(LIMIT_MIN / 2.0);
                    episode.await_drain(now_ns + PROBE_NS);
                }
                Some(Verdict::TooSmall) | None => {}
            }
        } else if now_ns > episode.probe_at_ns && limited {
            let quiet = episode.quiet;
            episode = Episode::begin(observed.in_flight_mean, latency_s, now_ns + PROBE_NS);
            episode.quiet = quiet;
            self.limit = (0.6 * observed.in_flight_mean).max(LIMIT_MIN / 2.0);
        }
        if episode.judged {
            if gradient < 1.0 {
                self.limit *= gradient.max(0.7);
            } else if limited {
                self.limit += 0.25 * self.limit.sqrt();
            }
            self.limit = self.limit.clamp(0.7 * self.worth_having(), LIMIT_MAX);
        }
        episode.quiet = if gradient >= 1.0 && !limited { episode.quiet + 1 } else { 0 };
        if episode.quiet < QUIET_TICKS {
            self.episode = Some(episode);
        }
    }

    /// Only requests that were sent after the cut had worked count. Any window that still holds others calls a real overload a slow
    /// dependency: those were sent into the queue that the cut has just emptied.
    fn judge(&self, episode: &mut Episode, observed: &Observed<'_>, latency_s: f64) -> Option<Verdict> {
        episode.concurrency_max = episode.concurrency_max.max(observed.in_flight_mean);
        episode.latency_max_s = episode.latency_max_s.max(latency_s);
        let Some(drained_ns) = episode.drained_ns else {
            if f64::from(observed.in_flight) <= 1.1 * self.limit {
                episode.drained_ns = Some(observed.now_ns);
                episode.after.clear();
            }
            return None;
        };
        let after = observed.samples.iter().filter(|sample| sample.sent_ns >= drained_ns);
        let room = VERDICT_ANSWERS_MAX - episode.after.len();
        episode.after.extend(after.map(|sample| sample.latency_s).take(room));
        if episode.after.len() < VERDICT_ANSWERS {
            return None;
        }
        let after_s = median(std::mem::take(&mut episode.after));
        let concurrency_change = (episode.concurrency_max / observed.in_flight_mean.max(1.0)).ln();
        let latency_change = (episode.latency_max_s / after_s).ln();
        Some(if concurrency_change <= CUT_MIN {
            Verdict::TooSmall
        } else if latency_change < ELASTIC_MIN * concurrency_change {
            Verdict::Inelastic(after_s)
        } else {
            Verdict::Elastic
        })
    }
}

/// Of at least one; never 0, so that it can be divided by.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    median.max(1e-6)
}

#[cfg(test)]
mod tests;
