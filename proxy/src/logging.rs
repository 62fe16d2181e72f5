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
        let parsed = parse(filter)?;
        if !(self.apply)(parsed) {
            return Err("this process logs nowhere".to_owned());
        }
        let before = self.filter.replace(filter.to_owned());
        // At a level that few filters leave out.
        tracing::warn!("logs {filter} from now on, and no more {before}");
        Ok(())
    }
}

/// Reads a filter. A bare word is a level: taken for a target, as `RUST_LOG` does, one that is misspelt would silence all others.
///
/// # Errors
/// What was expected.
pub fn parse(filter: &str) -> Result<EnvFilter, String> {
    let expected = || {
        format!(
            "{filter:?} is no filter: expected off, error, warn, info, debug or trace; with commas between, TARGET=LEVEL, too"
        )
    };
    if filter.is_empty() || filter.len() > FILTER_BYTES_MAX {
        return Err(expected());
    }
    if let Some(word) = filter.split(',').find(|directive| is_bare(directive) && !is_level(directive)) {
        return Err(format!("{word:?} is no level; for a target of that name: {word}=trace. {}", expected()));
    }
    EnvFilter::try_new(filter).map_err(|_| expected())
}

fn is_bare(directive: &str) -> bool {
    !directive.contains(['=', '[']) && !directive.contains("::")
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| word.eq_ignore_ascii_case(level))
}

impl fmt::Debug for Logging {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Logging").field("filter", &self.filter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_word_that_is_no_level_silences_nothing() {
        let applied = Rc::new(Cell::new(0));
        let count = applied.clone();
        let logging = Logging::new("info", move |_| {
            count.set(count.get() + 1);
            true
        });
        for wrong in ["inof", "info,hyper", "3", "0", "", ",", "info,", "hyper=louder", "debug hyper"] {
            let why = logging.set(wrong).expect_err(wrong);
            assert!(why.contains("info, debug or trace"), "{why}");
        }
        assert_eq!((applied.get(), logging.filter().as_str()), (0, "info"));
        let right = ["debug", "WARN", "off", "info,hyper=trace", "outrigger_proxy::source", "h2=off"];
        let spans = ["[request{host=a}]=debug,info", "hyper[span]"];
        for right in right.into_iter().chain(spans) {
            logging.set(right).expect(right);
            assert_eq!(logging.filter(), right);
        }
        assert_eq!(applied.get(), 8);
    }
}
