//! What the command line prints, and how it ends.

use std::borrow::Cow;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::causes::with_causes;

use clap::ValueEnum;
use comfy_table::{Table, presets};

/// How a command ended that did what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Exit code 0.
    Done,
    /// It looked for a problem and has found one. Exit code 1.
    Found,
}

/// A command that couldn't do what it was asked to.
#[derive(Debug)]
pub struct Failed {
    kind: Kind,
    message: String,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Problem,
    Usage,
    Unreachable,
}

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// YAML that `apply` takes
    Yaml,
    /// JSON
    Json,
    /// A line each
    Table,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Failed {
    /// Refused, or wrong in itself. Exit code 1.
    pub fn problem(what: &str, error: &(dyn Error + 'static)) -> Self {
        Self { kind: Kind::Problem, message: with_causes(what, error) }
    }

    /// The same, in one's own words.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { kind: Kind::Problem, message: message.into() }
    }

    /// The same, with more said at the end.
    pub(super) fn with(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// The same, said of something.
    pub(super) fn of(mut self, what: &str) -> Self {
        self.message.insert_str(0, &format!("{what}: "));
        self
    }

    /// Flags that can't be meant. Exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into() }
    }

    /// A server or a store that doesn't answer. Exit code 3.
    pub fn unreachable(what: &str, error: &(dyn Error + 'static)) -> Self {
        Self { kind: Kind::Unreachable, message: with_causes(what, error) }
    }
}

/// Text without what a terminal would obey: some of it is what strangers have written. Lines and tabs stay.
fn harmless(text: &str) -> Cow<'_, str> {
    let obeyed = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(obeyed) { text.replace(obeyed, "?").into() } else { text.into() }
}

/// Prints a line. A reader that has gone away (`outrigger get | head`) is no error.
pub(super) fn line(text: &str) {
    let _gone = !offer(text);
}

/// Prints a line, and says whether there was anyone to print it for.
pub(super) fn offer(text: &str) -> bool {
    let (text, mut out) = (harmless(text), std::io::stdout().lock());
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).is_ok()
}

/// Prints a remark to standard error, so that it doesn't get into what a script reads.
pub(super) fn remark(text: &str) {
    let (text, mut out) = (harmless(text), std::io::stderr().lock());
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).unwrap_or_default();
}

/// Prints `value` as indented JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<(), Failed> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|error| Failed::problem("can't print this", &error))?;
    // Escaped as JSON has others escaped (RFC 8259 §7), so that they are read as they were.
    for control in ('\u{7f}'..='\u{9f}').filter(|control| text.contains(*control)).collect::<Vec<_>>() {
        text = text.replace(control, &format!("\\u{:04x}", u32::from(control)));
    }
    line(&text);
    Ok(())
}

/// Prints rows in columns.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    line(&columns(header, rows));
}

/// Rows in columns.
pub(super) fn columns(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
    trimmed.join("\n")
}

/// A time span as people say it.
pub(super) fn span(milliseconds: u64) -> String {
    let span = Duration::from_millis(milliseconds);
    match span.as_secs() {
        0..10 => format!("{:.1}s", span.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Prints what `clap` has to say: help to standard output, mistakes to standard error with exit code 2.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // A terminal that has gone away leaves nobody to tell.
    let _printed = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Prints why a command failed, and turns its end into an exit code.
pub(super) fn finish(end: Result<Exit, Failed>) -> ExitCode {
    match end {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Found) => ExitCode::from(1),
        Err(failed) => {
            remark(&format!("outrigger: {}", failed.message));
            ExitCode::from(match failed.kind {
                Kind::Problem => 1,
                Kind::Usage => 2,
                Kind::Unreachable => 3,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_is_obeyed_by_a_terminal() {
        assert_eq!(harmless("a\u{9b}2J\u{1b}[31m\rb\u{7f}\n\tc"), "a?2J?[31m?b?\n\tc");
        assert!(matches!(harmless("plain, ü and all"), Cow::Borrowed(_)));
    }
}
