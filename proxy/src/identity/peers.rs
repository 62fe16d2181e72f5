//! Peers that have proved who they are, for as long as a connection with them is open. A handshake decides once whom it believes; what is taken
//! back later, or ends, is found here: the control thread looks through the table, and what it refuses the connections see for themselves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use outrigger_certs::inspect::Facts;
use outrigger_certs::problem::Problem;
use outrigger_certs::svid::identity;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::identity::SpiffeId;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use crate::complaint::Complaint;
use crate::telemetry::metrics::{Direction, WorkerStats};

/// Calls under way with a peer that is believed no more have this long.
pub const PARTING_NS: u64 = 10_000_000_000;

/// A peer, by the certificates that it has shown: all connections that began with the same share it.
#[derive(Debug)]
pub struct Peer {
    /// Who it is.
    pub identity: Arc<SpiffeId>,
    /// The number of its own certificate, in hexadecimal.
    pub serial: Box<str>,
    /// Its own certificate first.
    chain: Box<[CertificateDer<'static>]>,
    /// When the first of them ends, in seconds since 1970.
    until_unix: i64,
    /// 0: it is believed. Else the place of the problem in [`Problem::ALL`], from 1.
    refused: AtomicU8,
}

impl Peer {
    fn new(chain: &[CertificateDer<'_>]) -> Result<Self, Problem> {
        let leaf = chain.first().ok_or(Problem::Missing)?;
        let facts = chain.iter().map(|certificate| Facts::of(certificate)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            identity: Arc::new(identity(leaf)?),
            serial: facts[0].serial.as_str().into(),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            until_unix: facts.iter().map(|facts| facts.not_after_unix).min().unwrap_or(0),
            refused: AtomicU8::new(0),
        })
    }

    /// Its own certificate, and those above it.
    pub(super) fn chain(&self) -> (&CertificateDer<'static>, &[CertificateDer<'static>]) {
        (&self.chain[0], &self.chain[1..])
    }

    /// Why it is believed no more.
    pub fn refused(&self) -> Option<Problem> {
        let place = self.refused.load(Relaxed);
        if place == 0 { None } else { Problem::ALL.get(usize::from(place) - 1).copied() }
    }

    fn refuse(&self, problem: Problem) {
        let place = Problem::ALL.iter().position(|known| *known == problem);
        self.refused.store(place.map_or(u8::MAX, |place| place as u8 + 1), Relaxed);
    }

    /// Counts a connection that is ended because of `problem`, and has people told.
    pub fn part(&self, problem: Problem, stats: &WorkerStats, direction: Direction, address: Option<IpAddr>) {
        stats.parted[direction as usize].add(problem);
        let (identity, serial) = (Some(self.identity.as_str()), Some(&*self.serial));
        let reason = problem.code();
        Complaint { direction, reason, address, identity, is_proved: true, serial }.tell(&Parted(problem));
    }
}

/// Why a connection was ended.
#[derive(Debug, thiserror::Error)]
#[error("an open connection with it is ended: {0}")]
struct Parted(Problem);

/// See the module. Entries are let go of in the next look through the table after their last connection has ended.
#[derive(Debug, Default)]
pub struct Peers {
    known: Mutex<HashMap<Digest, Weak<Peer>>>,
    refusals: watch::Sender<u64>,
}

impl Peers {
    /// Whoever has proved itself with these certificates, its own first.
    pub(super) fn enter(&self, chain: &[CertificateDer<'_>]) -> Result<Arc<Peer>, Problem> {
        let shown: Vec<u8> = chain.iter().flat_map(|certificate| certificate.iter().copied()).collect();
        let key = Digest::of(&shown);
        let mut known = self.lock();
        match known.get(&key).and_then(Weak::upgrade).filter(|peer| peer.refused().is_none()) {
            Some(peer) => Ok(peer),
            None => {
                let peer = Arc::new(Peer::new(chain)?);
                known.insert(key, Arc::downgrade(&peer));
                Ok(peer)
            }
        }
    }

    /// Those who are there and believed; of all, or of those alone whose certificates have ended by `now_unix`.
    pub(super) fn due(&self, all: bool, now_unix: i64) -> Vec<Arc<Peer>> {
        let mut known = self.lock();
        known.retain(|_, peer| peer.strong_count() > 0);
        let there = known.values().filter_map(Weak::upgrade);
        there.filter(|peer| (all || peer.until_unix < now_unix) && peer.refused().is_none()).collect()
    }

    /// Refuses those of whom `judge` finds a problem; whether there was one.
    pub(super) fn judge(peers: &[Arc<Peer>], judge: impl Fn(&Peer) -> Option<Problem>) -> bool {
        let mut any = false;
        for (peer, problem) in peers.iter().filter_map(|peer| Some((peer, judge(peer)?))) {
            peer.refuse(problem);
            any = true;
        }
        any
    }

    /// Lets all who have connections know that somebody was refused.
    pub(super) fn tell(&self) {
        self.refusals.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Changes whenever somebody was refused.
    pub fn refusals(&self) -> watch::Receiver<u64> {
        self.refusals.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Peer>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
