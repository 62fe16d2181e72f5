//! What a process counts, as its `/metrics` says.

use std::net::SocketAddr;

use crate::client;

/// One scrape.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    /// What the process whose metrics are served here says now; `None` if it does not.
    pub async fn of(address: SocketAddr) -> Option<Self> {
        Some(Self(client::page(address, "/metrics").await.ok()?.text()))
    }

    /// The whole numbers of all series whose line has all of `parts`, together.
    pub fn sum(&self, parts: &[&str]) -> u64 {
        self.lines(parts).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Whether there is a series whose line has all of `parts`, and which has this value.
    pub fn say(&self, parts: &[&str], value: u64) -> bool {
        self.lines(parts).any(|line| line.rsplit(' ').next() == Some(&value.to_string()))
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn lines<'a>(&'a self, parts: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let series = self.0.lines().filter(|line| !line.starts_with('#'));
        series.filter(|line| parts.iter().all(|part| line.contains(part)))
    }
}
