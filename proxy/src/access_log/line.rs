//! A line of the access log. What clients have written stands in it only so that it can end neither the line nor its own field.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock;
use crate::digits::{address, hex, number, padded};
use crate::story::{Told, lossy};

/// Lines, one after the other.
#[derive(Debug)]
pub struct Lines {
    text: String,
    words: bool,
    /// What time it was when the first of them began, on both clocks.
    now: (Duration, u64),
    second: Second,
}

/// The last second that was written, and how.
#[derive(Debug, Default)]
struct Second {
    unix: u64,
    text: String,
}

impl Lines {
    /// None yet, each of which will be an object of JSON.
    pub fn of_json() -> Self {
        Self { text: String::new(), words: false, now: (Duration::ZERO, 0), second: Second::default() }
    }

    /// None yet, for people.
    pub fn of_words() -> Self {
        Self { words: true, ..Self::of_json() }
    }

    /// How long they are.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Gives all of them away.
    pub fn take(&mut self) -> Vec<u8> {
        let room = self.text.len();
        std::mem::replace(&mut self.text, String::with_capacity(room)).into_bytes()
    }

    /// One more, of a request that was over at `now_ns`.
    pub fn add(&mut self, told: &Told, failed: bool, status: Option<u16>, now_ns: u64) {
        if self.text.is_empty() {
            // Clocks drift apart: what time it is, anew for each batch.
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.now = (unix, clock::now_ns());
        }
        let (unix, at_ns) = self.now;
        let ago = Duration::from_nanos(at_ns.saturating_sub(told.started_ns));
        let ahead = Duration::from_nanos(told.started_ns.saturating_sub(at_ns));
        let came = unix.saturating_sub(ago) + ahead;
        if self.second.unix != came.as_secs() || self.second.text.is_empty() {
            self.second = Second { unix: came.as_secs(), text: second(came.as_secs()) };
        }
        let seen =
            Seen { told, failed, status, now_ns, time: &self.second.text, micros: came.subsec_micros() };
        // A text takes whatever is written into it.
        let _ = if self.words { seen.words(&mut self.text) } else { seen.json(&mut self.text) };
        self.text.push('\n');
    }
}

/// What stands before the value of a field that is not the first.
macro_rules! field {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

struct Seen<'a> {
    told: &'a Told,
    failed: bool,
    status: Option<u16>,
    now_ns: u64,
    time: &'a str,
    micros: u32,
}

impl Seen<'_> {
    fn reason(&self) -> Option<&'static str> {
        let upstream = crate::local_reply::UPSTREAM_STATUS.reason;
        let ending = self.told.ending.as_deref().map(|ending| ending.reason);
        ending.or_else(|| self.failed.then_some(upstream))
    }

    fn instant(&self, out: &mut String) {
        out.push_str(self.time);
        out.push('.');
        padded(out, self.micros, 6);
        out.push('Z');
    }

    fn took_ms(&self) -> (u64, u64) {
        let took_us = self.now_ns.saturating_sub(self.told.started_ns) / 1_000;
        (took_us / 1_000, took_us % 1_000)
    }

    /// Where the last try went.
    fn endpoint(&self) -> Option<SocketAddr> {
        self.told.tries.last().map(|last| last.address)
    }

    fn tries(&self) -> u64 {
        self.told.tries.len() as u64 + u64::from(self.told.tries_omitted)
    }

    fn json(&self, out: &mut String) -> std::fmt::Result {
        let told = self.told;
        let (ms, us) = self.took_ms();
        out.push_str("{\"timestamp\":\"");
        self.instant(out);
        out.push('"');
        within(out, field!("outrigger.direction"), |out| out.push_str(told.direction.as_str()));
        text(out, field!("http.request.method"), &told.method());
        let (server, port) = told.text.server();
        text(out, field!("server.address"), server);
        if let Some(port) = port {
            count(out, field!("server.port"), port);
        }
        text(out, field!("url.path"), &told.path());
        if let Some(status) = self.status {
            count(out, field!("http.response.status_code"), status);
        }
        if let Some(reason) = self.reason() {
            within(out, field!("error.type"), |out| out.push_str(reason));
        }
        count(out, field!("duration_ms"), ms);
        out.push('.');
        padded(out, us as u32, 3);
        count(out, field!("http.request.body.size"), told.bytes_in());
        count(out, field!("http.response.body.size"), told.bytes_out);
        told.text.with_id(|id| text(out, field!("outrigger.request_id"), &lossy(id)));
        if let Some(trace) = &told.trace {
            within(out, field!("trace_id"), |out| hex(out, trace.id.0.to_be_bytes()));
            if trace.span != 0 {
                within(out, field!("span_id"), |out| hex(out, trace.span.to_be_bytes()));
            }
        }
        if let Some(source) = told.source {
            within(out, field!("client.address"), |out| address(out, source.ip()));
        }
        if let Some(caller) = &told.caller {
            write!(out, ",\"outrigger.caller\":\"{}\"", caller.identity)?;
        }
        if let Some(labels) = told.resolution.as_ref().map(|resolution| &resolution.stats().labels) {
            text(out, field!("outrigger.rule"), &labels.rule);
            text(out, field!("outrigger.cluster"), &labels.cluster);
        }
        count(out, field!("outrigger.tries"), self.tries());
        if let Some(endpoint) = self.endpoint() {
            within(out, field!("network.peer.address"), |out| address(out, endpoint.ip()));
            count(out, field!("network.peer.port"), endpoint.port());
        }
        count(out, field!("outrigger.release"), told.release.0);
        for (name, value) in told.labels() {
            out.push_str(",\"");
            out.push_str(name);
            text(out, "\":", &value);
        }
        out.push('}');
        Ok(())
    }

    fn words(&self, out: &mut String) -> std::fmt::Result {
        let told = self.told;
        let (ms, us) = self.took_ms();
        self.instant(out);
        write!(out, " {} ", told.direction)?;
        for said in [told.method(), told.host(), told.path()] {
            word(out, &said);
            out.push(' ');
        }
        match self.status {
            Some(status) => write!(out, "{status}")?,
            None => out.push('-'),
        }
        write!(out, " {ms}.{us:03}ms in={} out={}", told.bytes_in(), told.bytes_out)?;
        write!(out, " tries={} reason={} id=", self.tries(), self.reason().unwrap_or("-"))?;
        word(out, &told.id());
        if let Some(trace) = &told.trace {
            write!(out, " trace={}", trace.id)?;
        }
        if let Some(source) = told.source {
            write!(out, " from={source}")?;
        }
        if let Some(caller) = &told.caller {
            write!(out, " caller={}", caller.identity)?;
        }
        if let Some(labels) = told.resolution.as_ref().map(|resolution| &resolution.stats().labels) {
            out.push_str(" route=");
            word(out, &labels.rule);
            out.push_str(" cluster=");
            word(out, &labels.cluster);
        }
        if let Some(endpoint) = self.endpoint() {
            write!(out, " to={endpoint}")?;
        }
        for (name, value) in told.labels() {
            write!(out, " {name}=")?;
            word(out, &value);
        }
        Ok(())
    }
}

/// A field whose value is a number.
fn count(out: &mut String, name: &str, value: impl itoa::Integer) {
    out.push_str(name);
    number(out, value);
}

/// A field whose value is text that needs no escapes.
fn within(out: &mut String, name: &str, write: impl FnOnce(&mut String)) {
    out.push_str(name);
    out.push('"');
    write(out);
    out.push('"');
}

/// A field whose value is anything (RFC 8259 §7); control characters beyond those that must be are escaped, too, for terminals.
fn text(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push('"');
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    // All bytes, wherever the first is that is not plain: many at a time.
    if value.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.push_str(value);
    } else {
        for character in value.chars() {
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                character if character.is_control() => {
                    // All of them are below U+00A0.
                    let _ = write!(out, "\\u{:04x}", u32::from(character));
                }
                character => out.push(character),
            }
        }
    }
    out.push('"');
}

/// A word without what could end it; `-` is none.
fn word(out: &mut String, value: &str) {
    if value.is_empty() {
        out.push('-');
    }
    for byte in value.bytes() {
        match byte {
            b'\\' | b'"' | 0..=0x20 | 0x7f.. => {
                let _ = write!(out, "\\x{byte:02x}");
            }
            _ => out.push(byte as char),
        }
    }
}

/// `YYYY-MM-DDTHH:MM:SS` of a second since 1970 (RFC 3339), by the calendar of Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn second(unix: u64) -> String {
    let (days, rest) = (unix / 86_400, unix % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_those_of_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(second(unix), text);
        }
    }

    #[test]
    fn nothing_that_a_client_writes_ends_its_field_or_its_line() {
        for value in
            ["plain", "\"},{\"a\":\"", "a\r\nb", "\u{1b}[2J", "\u{9b}31m", "\\u0000", "ü€😀", "\u{fffd}"]
        {
            let mut out = String::from("{\"a\":1");
            text(&mut out, field!("url.path"), value);
            out.push('}');
            assert!(!out.chars().any(char::is_control), "{out:?}");
            let read: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(read["url.path"], value);
            let mut out = String::new();
            word(&mut out, value);
            assert!(out.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'), "{out:?}");
        }
    }
}
