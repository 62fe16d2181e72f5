//! The connections of one worker to one cluster, as far as their places are wanted by others.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;

use super::{EndpointPool, http1, http2};
use crate::cluster::places::Places;
use crate::cluster::{ClusterLoad, Wire};

/// The pools of a cluster's endpoints.
#[derive(Debug)]
pub(super) struct Members {
    load: Arc<ClusterLoad>,
    /// The worker's own.
    pub(super) bell: Arc<Notify>,
    pools: RefCell<Vec<Weak<EndpointPool>>>,
}

impl Members {
    pub(super) fn new(load: Arc<ClusterLoad>, bell: Arc<Notify>) -> Self {
        load.connections.attend(bell.clone());
        Self { load, bell, pools: RefCell::default() }
    }

    pub(super) fn add(&self, pool: &Rc<EndpointPool>) {
        self.pools.borrow_mut().push(Rc::downgrade(pool));
    }

    /// Forgets pools that are gone; whether any is left.
    pub(super) fn trim(&self) -> bool {
        self.pools.borrow_mut().retain(|pool| pool.strong_count() > 0);
        !self.pools.borrow().is_empty()
    }

    fn places(&self) -> &Places {
        &self.load.connections
    }

    /// Gives up as many connections as are wanted, those first that have carried nothing for longest.
    pub(super) fn give_way(&self) {
        while self.places().is_wanted() {
            let Some((pool, wire)) = self.longest_idle(None) else { return };
            if self.places().grant() {
                close(&pool, wire);
            }
        }
    }

    /// Gives up the connection that has carried nothing for longest, but for those that `keep` could use itself; whether there was one. Its place
    /// is free when it is closed.
    pub(super) fn give_up(&self, keep: &EndpointPool, wire: Wire) -> bool {
        let found = self.longest_idle(Some((keep, wire)));
        found.inspect(|(pool, wire)| close(pool, *wire)).is_some()
    }

    fn longest_idle(&self, keep: Option<(&EndpointPool, Wire)>) -> Option<(Rc<EndpointPool>, Wire)> {
        let kept =
            |pool: &EndpointPool, wire| keep.is_some_and(|(own, its)| std::ptr::eq(own, pool) && wire == its);
        let pools = self.pools.borrow();
        let both = pools.iter().filter_map(Weak::upgrade).flat_map(|pool| {
            let shared = (http2::idle_since(&pool), pool.clone(), Wire::Http2);
            [(http1::idle_since(&pool), pool, Wire::Http1), shared]
        });
        let idle = both.filter_map(|(since_ns, pool, wire)| Some((since_ns?, pool, wire)));
        let given = idle.filter(|(_, pool, wire)| !kept(pool, *wire));
        given.min_by_key(|(since_ns, ..)| *since_ns).map(|(_, pool, wire)| (pool, wire))
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.places().forsake(&self.bell);
    }
}

fn close(pool: &EndpointPool, wire: Wire) {
    match wire {
        Wire::Http1 => http1::close_idle(pool),
        Wire::Http2 => http2::close_idle(pool),
    }
}
