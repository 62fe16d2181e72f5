//! Whether those who have connections with this proxy would be believed if they came now.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::problem::Problem;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use outrigger_snapshot::digest::Digest;
use rustls_pki_types::UnixTime;

use super::Keeper;
use super::peers::{Peer, Peers};

/// How often ends of certificates are looked at. Not at the very moment: the clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Peers whose signatures are checked before others of the control thread have their turn: some 10 ms.
const BATCH: usize = 64;

/// By whom everybody was judged: a bundle, and so many of its authorities whose time it is.
type Judges = (Digest, usize);

impl Keeper {
    /// Looks through those who have connections: all of them where others are believed than before, else those whose certificates have ended. A
    /// mesh that names nobody to be believed any more has taken nobody back.
    pub async fn review(self: Rc<Self>) {
        let mut judged: Option<Judges> = None;
        loop {
            // Whichever it is.
            let _ = tokio::time::timeout(LOOK_EVERY, self.renewed.notified()).await;
            let Some(bundle) = self.believed() else { continue };
            let now = UnixTime::now();
            let timely = bundle.facts().iter().filter(|facts| facts.check_time(now).is_ok()).count();
            let judges = (bundle.fingerprint(), timely);
            let all = judged.replace(judges) != Some(judges);
            let peers = self.shared.peers();
            let due = peers.due(all, i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
            let mut any = false;
            for batch in due.chunks(BATCH) {
                any |= Peers::judge(batch, |peer| refuses(&bundle, peer, now));
                tokio::task::yield_now().await;
            }
            if any {
                peers.tell();
            }
        }
    }
}

/// Why a peer would be refused at `now` by those who believe this.
pub(super) fn refuses(bundle: &Arc<TrustBundle>, peer: &Peer, now: UnixTime) -> Option<Problem> {
    let (leaf, above) = peer.chain();
    Verifier::new(bundle.clone()).verify(leaf, above, now).err()
}
