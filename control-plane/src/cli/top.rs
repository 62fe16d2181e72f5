//! `top`: what goes through proxies, per route and per endpoint, as it goes.

mod names;
mod scrape;
mod view;

use std::io::{IsTerminal, Read as _, Write as _};
use std::time::Duration;

use clap::Args;
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::view::Look;
use super::admin::{Admin, Proxies};
use super::output::{self, Exit, Failed};

/// Width and height where the terminal does not say.
const SIZE: (usize, usize) = (120, 40);
const ROUTES: [&str; 8] = ["ROUTE", "DIRECTION", "CLUSTER", "REQ/S", "SUCCESS", "P50", "P99", "IN FLIGHT"];
const ENDPOINTS: [&str; 7] = ["ENDPOINT", "CLUSTER", "REQ/S", "SUCCESS", "LATENCY", "IN FLIGHT", "HEALTH"];
const SHOW: &str = "\x1b[?1049h\x1b[?25l";
const HIDE: &str = "\x1b[?25h\x1b[?1049l";

#[derive(Debug, Args)]
#[command(
    after_help = "Figures are of the last interval, of all proxies together; p50 and p99 are read from histograms. What was not there before has none yet. Ends with q or Ctrl-C.\n\nExamples:\n  \
                        outrigger top\n  \
                        outrigger top --proxy 10.0.0.7:15200,10.0.0.8:15200 --interval 5\n  \
                        outrigger top --once | head"
)]
pub(super) struct Top {
    /// Look so often, in seconds
    #[arg(long, value_name = "SECONDS", env = "OUTRIGGER_INTERVAL", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
    /// Print one table and end, as where standard output is no terminal
    #[arg(long, env = "OUTRIGGER_ONCE")]
    once: bool,
    #[command(flatten)]
    proxies: Proxies,
}

/// A terminal that shows this instead of what it did, and no keys as they are pressed.
struct Screen {
    /// How keys were taken before, where there are any.
    before: Option<Termios>,
}

impl Screen {
    fn enter() -> Self {
        let keys = std::io::stdin();
        let before = termios::tcgetattr(&keys).ok();
        if let Some(mut now) = before.clone() {
            // What makes a signal of Ctrl-C stays.
            now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            now.special_codes[SpecialCodeIndex::VMIN] = 1;
            now.special_codes[SpecialCodeIndex::VTIME] = 0;
            // Of a terminal that does not, keys are seen; no more is lost.
            let _ = termios::tcsetattr(&keys, OptionalActions::Now, &now);
        }
        put(SHOW);
        Self { before }
    }

    /// Waits for `q`, if anyone can press it.
    async fn quits(&self) {
        let (pressed, quits) = oneshot::channel();
        if self.before.is_some() {
            // It ends with the process: a terminal cannot be read for a while only.
            std::thread::spawn(move || {
                let mut key = [0];
                while key != *b"q" && std::io::stdin().read_exact(&mut key).is_ok() {}
                (key == *b"q").then(|| pressed.send(()))
            });
        }
        if quits.await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        put(HIDE);
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// What was seen of all proxies, and when.
struct Seen {
    look: Look,
    at: Instant,
    /// Why of some nothing was.
    trouble: Vec<Failed>,
}

impl Top {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let admins = self.proxies.addresses.iter().map(|address| Admin::new(address));
        let admins = admins.collect::<Result<Vec<_>, _>>()?;
        let interval = Duration::from_secs(self.interval);
        let mut before = look(&admins).await;
        if let Some(failed) = before.trouble.pop() {
            return Err(failed);
        }
        if self.once || !std::io::stdout().is_terminal() {
            tokio::time::sleep(interval).await;
            let mut now = look(&admins).await;
            if let Some(failed) = now.trouble.pop() {
                return Err(failed);
            }
            for (header, rows) in tables(&before, &now) {
                output::line("");
                output::table(header, rows);
            }
            return Ok(Exit::Done);
        }
        // Without handlers for them, the terminal would be left as it is.
        let unheard = |error| Failed::problem("can't hear signals", &error);
        let mut ended = signal(SignalKind::terminate()).map_err(unheard)?;
        let mut resized = signal(SignalKind::window_change()).map_err(unheard)?;
        let screen = Screen::enter();
        tokio::select! {
            () = self.shows(&admins, before, &mut resized) => {}
            () = screen.quits() => {}
            _ = tokio::signal::ctrl_c() => {}
            _ = ended.recv() => {}
        }
        drop(screen);
        Ok(Exit::Done)
    }

    /// Draws anew after each interval, and as soon as the terminal has another size.
    async fn shows(&self, admins: &[Admin], mut before: Seen, resized: &mut Signal) {
        let interval = Duration::from_secs(self.interval);
        let mut now = None;
        loop {
            let until = Instant::now() + interval;
            while let Ok(Some(())) = timeout_at(until, resized.recv()).await {
                if let Some(now) = &now {
                    draw(&self.proxies.addresses, &before, now);
                }
            }
            let next = look(admins).await;
            before = now.take().unwrap_or(before);
            draw(&self.proxies.addresses, &before, now.insert(next));
        }
    }
}

async fn look(admins: &[Admin]) -> Seen {
    let mut seen = Seen { look: Look::default(), at: Instant::now(), trouble: Vec::new() };
    let asked = admins.iter().map(async |admin: &Admin| {
        let metrics = admin.page("/metrics", &[]).await?;
        Ok::<_, Failed>((
            admin.address().to_owned(),
            metrics,
            admin.fetch::<Vec<view::ClusterView>>("/clusters", &[("format", "json")]).await?,
        ))
    });
    for told in futures_util::future::join_all(asked).await {
        match told {
            Ok((proxy, metrics, clusters)) => {
                seen.look.add(&proxy, &String::from_utf8_lossy(&metrics), &clusters);
            }
            Err(failed) => seen.trouble.push(failed),
        }
    }
    seen
}

type Table = (&'static [&'static str], Vec<Vec<String>>);

fn tables(before: &Seen, now: &Seen) -> [Table; 2] {
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    [
        (&ROUTES, now.look.route_rows(&before.look, seconds)),
        (&ENDPOINTS, now.look.endpoint_rows(&before.look, seconds)),
    ]
}

/// Fills the terminal: as many rows as it has room for, routes first, but some of each.
fn draw(addresses: &[String], before: &Seen, now: &Seen) {
    let (width, height) = size();
    let mut lines = vec![format!("outrigger top  {}", addresses.join(", "))];
    lines.extend(now.trouble.iter().map(ToString::to_string));
    let [(routes_header, mut routes), (endpoints_header, mut endpoints)] = tables(before, now);
    // Two headers and two empty lines.
    let room = height.saturating_sub(lines.len() + 5).max(2);
    let fewest = endpoints.len().min(room / 2);
    routes.truncate(room - fewest);
    endpoints.truncate(room - routes.len());
    for (header, rows) in [(routes_header, routes), (endpoints_header, endpoints)] {
        lines.push(String::new());
        lines.extend(output::columns(header, rows).lines().map(str::to_owned));
    }
    let mut text = "\x1b[H".to_owned();
    for line in lines.iter().take(height.saturating_sub(1)) {
        // Names come from configuration: what would move the cursor is not among them, but nothing is trusted with it.
        text.extend(line.chars().filter(|character| !character.is_control()).take(width));
        text.push_str("\x1b[K\r\n");
    }
    text.push_str("\x1b[J");
    put(&text);
}

fn size() -> (usize, usize) {
    match termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => SIZE,
    }
}

fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that has gone away leaves nobody to tell.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
