//! Who watches: a person at a terminal, or a log.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::traffic::{Traffic, Window};

/// Between two lines of figures.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// Characters of a full bar.
const BAR: usize = 20;

/// Tells what happens, and waits for whoever watches.
#[derive(Debug)]
pub(super) struct Audience {
    /// Enter keys; none if nobody is to be asked.
    enter: Option<mpsc::UnboundedReceiver<()>>,
    /// Whether the line of figures stands in one place.
    terminal: bool,
}

impl Audience {
    /// One who is asked before each step, or one who is not.
    pub(super) fn new(ask: bool) -> Self {
        Self { enter: ask.then(enter_keys), terminal: io::stdout().is_terminal() }
    }

    /// Tells what is about to happen.
    pub(super) fn say(&self, text: &str) {
        self.put(&format!("\n{text}\n"));
    }

    /// Tells a detail.
    pub(super) fn note(&self, text: &str) {
        self.put(&format!("  {text}\n"));
    }

    /// Shows the figures for `duration`; where someone is asked, until they press Enter.
    pub(super) async fn watch(&mut self, traffic: &Arc<Traffic>, duration: Duration, question: &str) {
        let mut show = tokio::time::interval_at(Instant::now() + SHOW_EVERY, SHOW_EVERY);
        let end = tokio::time::sleep(duration);
        tokio::pin!(end);
        if self.enter.is_some() {
            self.note(&format!("Press Enter to {question}."));
        }
        loop {
            tokio::select! {
                _ = show.tick() => self.figures(traffic),
                () = &mut end, if self.enter.is_none() => return,
                pressed = pressed(&mut self.enter) => {
                    if pressed.is_none() {
                        // Nobody is there any more: go on as if unattended.
                        self.enter = None;
                        end.as_mut().reset(Instant::now() + duration);
                        continue;
                    }
                    return;
                }
            }
        }
    }

    /// Shows the figures while `work` is done.
    pub(super) async fn during<T>(&self, traffic: &Arc<Traffic>, work: impl Future<Output = T>) -> T {
        let mut show = tokio::time::interval_at(Instant::now() + SHOW_EVERY, SHOW_EVERY);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = show.tick() => self.figures(traffic),
            }
        }
    }

    fn figures(&self, traffic: &Traffic) {
        let (total, failures) = traffic.so_far();
        let line = line(total, failures.len(), traffic.window());
        if self.terminal {
            self.put(&format!("  {line}"));
        } else {
            self.put(&format!("  {line}\n"));
        }
    }

    /// A closed output ends nothing: the exit code still tells how it went.
    fn put(&self, text: &str) {
        let mut out = io::stdout().lock();
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        let _ = write!(out, "{clear}{text}");
        let _ = out.flush();
    }
}

async fn pressed(enter: &mut Option<mpsc::UnboundedReceiver<()>>) -> Option<()> {
    match enter {
        Some(enter) => enter.recv().await,
        None => std::future::pending().await,
    }
}

/// The thread ends with the input, or with the program.
fn enter_keys() -> mpsc::UnboundedReceiver<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.is_err() || sender.send(()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn line(total: u64, failed: usize, mut window: Window) -> String {
    window.latencies.sort_unstable();
    let answered = window.latencies.len() as u64;
    let asked = answered + window.failed;
    let rate = answered as f64 / window.since.elapsed().as_secs_f64();
    let success = if asked == 0 { 0.0 } else { answered as f64 * 100.0 / asked as f64 };
    let split = shares(&window.by_instance).into_iter().fold(String::new(), |split, (version, share)| {
        let filled = ((share * BAR as f64).round() as usize).min(BAR);
        format!(
            "{split}  {version} {}{} {:3.0} %",
            "█".repeat(filled),
            "░".repeat(BAR - filled),
            share * 100.0
        )
    });
    format!(
        "{total:>6} requests, {failed} failed │ {rate:>4.0}/s {success:6.2} % ok │ p50 {} p99 {} │{split}",
        milliseconds(&window.latencies, 50),
        milliseconds(&window.latencies, 99),
    )
}

/// Share of each version in what the cart answered.
pub(super) fn shares(answers: &BTreeMap<String, u64>) -> BTreeMap<String, f64> {
    let all: u64 = answers.values().sum();
    let mut shares = BTreeMap::from([("v1".to_owned(), 0.0), ("v2".to_owned(), 0.0)]);
    for (instance, count) in answers {
        if let Some(version) = instance.split('-').nth(1) {
            *shares.entry(version.to_owned()).or_default() += *count as f64 / all.max(1) as f64;
        }
    }
    shares
}

fn milliseconds(sorted: &[Duration], percent: usize) -> String {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    match sorted.get(at) {
        Some(latency) => format!("{:4.1} ms", latency.as_secs_f64() * 1000.0),
        None => "   -   ".to_owned(),
    }
}
