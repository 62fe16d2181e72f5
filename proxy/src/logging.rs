//! What this process logs to standard error, and at which level: as it was started, until someone says otherwise.

use std::cell::RefCell;
use std::fmt;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::telemetry::exposition::Exposition;

/// Longest filter, in bytes.
const FILTER_BYTES_MAX: usize = 4_096;

const NAME: &str = "outrigger-proxy";

/// Tells whoever started the process, whatever the log level.
pub fn say(text: &str) {
    outrigger_outlet::say(&format!("{NAME}: {text}"));
}

/// Writes what became of the log.
pub fn write(exposition: &mut Exposition) {
    let lost =
        exposition.counter("outrigger_log_dropped_total", "Lines of standard error that are gone, by why.");
    for (reason, count) in outrigger_outlet::LOSSES.into_iter().zip(outrigger_outlet::lost()) {
        lost.sample(&[("reason", reason)], count);
    }
}

/// See the module.
pub struct Logging {
    filter: RefCell<String>,
    apply: Box<dyn Fn(EnvFilter) -> bool>,
}

impl Logging {
    /// Logs what `filter` lets through, in the syntax of `RUST_LOG`, by a thread of its own: no worker waits for who reads it.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn start(filter: &str) -> std::io::Result<Self> {
        let parsed = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
        let colours = std::io::stderr().is_terminal();
        let outlet = outrigger_outlet::start(NAME)?;
        let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(move || outlet);
        let builder = builder.with_ansi(colours).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Ok(Self::new(filter, move |filter| handle.reload(filter).is_ok()))
    }

    /// That of someone else, who puts a filter into force, or says that it can't be.
    pub fn new(filter: &str, apply: impl Fn(EnvFilter) -> bool + 'static) -> Self {
        Self { filter: RefCell::new(filter.to_owned()), apply: Box::new(apply) }
    }

    /// What is let through.
    pub fn filter(&self) -> String {
        self.filter.borrow().clone()
    }

    /// Lets something else through from now on; the error says what is wrong with it.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let expected = || {
            format!("{filter:?} is no filter: expected error, warn, info, debug, trace, or as in RUST_LOG")
        };
        if filter.is_empty() || filter.len() > FILTER_BYTES_MAX {
            return Err(expected());
        }
        let parsed = EnvFilter::try_new(filter).map_err(|_| expected())?;
        if !(self.apply)(parsed) {
            return Err("this process logs nowhere".to_owned());
        }
        let before = self.filter.replace(filter.to_owned());
        // At a level that few filters leave out.
        tracing::warn!("logs {filter} from now on, and no more {before}");
        Ok(())
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Logging").field("filter", &self.filter).finish_non_exhaustive()
    }
}
