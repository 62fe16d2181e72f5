//! The log, line by line: however long it is, one line of it is in memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use http::HeaderName;

use super::line::{self, Asked};
use crate::cli::output::{self, Failed};

/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;
/// Names of headers that are kept.
const HEADERS_MAX: usize = 1_000;

pub(super) struct Log {
    name: String,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    /// Of the line that was read last, from 1.
    number: u64,
    inbound: u64,
    bad: u64,
    /// The first that could not be read, and why.
    first_bad: Option<(u64, String)>,
    requests: u64,
    headers: BTreeSet<String>,
}

/// What a line was.
pub(super) enum Read {
    Request(Box<Asked>),
    /// Nothing to route.
    Other,
}

impl Log {
    pub(super) fn open(path: &Path) -> Result<Self, Failed> {
        let name = path.display().to_string();
        let reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
            Box::new(BufReader::with_capacity(READ_BYTES, io::stdin()))
        } else {
            let unreadable = |error| Failed::problem(&format!("can't read {name} (--traffic)"), &error);
            Box::new(BufReader::with_capacity(READ_BYTES, File::open(path).map_err(unreadable)?))
        };
        let (line, headers) = (Vec::new(), BTreeSet::new());
        Ok(Self { name, reader, line, number: 0, inbound: 0, bad: 0, first_bad: None, requests: 0, headers })
    }

    /// The number of the line that was read last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Reads a line; `None`: there are no more.
    pub(super) fn next(&mut self) -> Result<Option<Read>, Failed> {
        let name = &self.name;
        let unreadable = |error| Failed::problem(&format!("can't read {name} (--traffic)"), &error);
        self.line.clear();
        let mut bounded = self.reader.by_ref().take(LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut self.line).map_err(unreadable)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.line.len() as u64 == LINE_BYTES_MAX && self.line.last() != Some(&b'\n') {
            self.reader.skip_until(b'\n').map_err(unreadable)?;
            return Ok(Some(self.is_bad(format!("it is longer than {} MiB", LINE_BYTES_MAX >> 20))));
        }
        if self.line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Read::Other));
        }
        Ok(Some(match line::read(&self.line) {
            Ok(Some(asked)) => {
                self.requests += 1;
                for name in &asked.headers {
                    if self.headers.len() < HEADERS_MAX && !self.headers.contains(name.as_str()) {
                        self.headers.insert(name.as_str().to_owned());
                    }
                }
                Read::Request(Box::new(asked))
            }
            Ok(None) => {
                self.inbound += 1;
                Read::Other
            }
            Err(why) => self.is_bad(why),
        }))
    }

    fn is_bad(&mut self, why: String) -> Read {
        self.bad += 1;
        self.first_bad.get_or_insert((self.number, why));
        Read::Other
    }

    /// Says what was not routed, and which of the headers that rules ask for the log never tells of.
    pub(super) fn told<'a>(&self, asked: impl Iterator<Item = &'a HeaderName>) -> Result<(), Failed> {
        if let Some((number, why)) = &self.first_bad {
            let bad = format!("{} lines are no requests, the first is line {number}: {why}", self.bad);
            if self.requests == 0 {
                return Err(Failed::refused(format!("{} (--traffic) has no request: {bad}", self.name)));
            }
            output::remark(&bad);
        }
        if self.inbound > 0 {
            output::remark(&format!(
                "{} calls to the workload are left out: no route is for them",
                self.inbound
            ));
        }
        let unseen: BTreeSet<&str> =
            asked.map(HeaderName::as_str).filter(|name| !self.headers.contains(*name)).collect();
        if !unseen.is_empty() {
            let unseen: Vec<_> = unseen.into_iter().collect();
            output::remark(&format!(
                "rules ask for headers that the log never tells of, which count as not sent: {}",
                unseen.join(", ")
            ));
        }
        Ok(())
    }
}
