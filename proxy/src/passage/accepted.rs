//! A downstream connection that is open.

use std::sync::Arc;

use crate::telemetry::metrics::{Direction, WorkerStats};

/// Counts a downstream connection for as long as it is open.
#[derive(Debug)]
pub struct Accepted {
    stats: Arc<WorkerStats>,
    direction: Direction,
}

impl Accepted {
    /// One that was just accepted.
    pub fn new(stats: &Arc<WorkerStats>, direction: Direction) -> Self {
        stats.downstream_connections[direction as usize].add(1);
        stats.downstream_accepted[direction as usize].add(1);
        Self { stats: stats.clone(), direction }
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.stats.downstream_connections[self.direction as usize].subtract(1);
    }
}
