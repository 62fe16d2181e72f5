//! The certificates that are shown to strangers, from folders that something else renews. Kept by the control thread; what is in force is
//! taken by each handshake.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::problem::Problem;
use outrigger_certs::web::{Folder, Pair, Tickets};
use outrigger_snapshot::policy::CertificateName;
use rustls_pki_types::UnixTime;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::rustls;

use crate::admin::{CertView, ShownCerts};
use crate::plan::Plan;
use crate::telemetry::exposition::Exposition;
use crate::worker::CurrentPlan;

/// How often the folders are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What is known of one folder.
#[derive(Debug)]
struct Known {
    folder: Folder,
    /// The last that could be used.
    pair: Option<Arc<Pair>>,
    /// What is there now, if the one in force is better.
    worse: Option<Arc<Pair>>,
    /// Why what is there now is not used; a word.
    trouble: Option<&'static str>,
}

impl Known {
    /// Why this one should not take the place of that in force.
    fn worsened(&self, pair: &Pair) -> Option<Problem> {
        pair.worsens(self.pair.as_ref()?, UnixTime::now())
    }
}

/// What people are told of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownView {
    /// As resources name it.
    pub name: String,
    /// The leaf's number, in hexadecimal; empty if there is none that can be used.
    pub serial: String,
    /// Until when it can be shown, in seconds since 1970: the first of its chain to end; 0 if there is none.
    pub until_unix: i64,
    /// Why what is there now is not used, a word.
    pub trouble: Option<&'static str>,
}

/// See the module.
#[derive(Debug)]
pub struct Certificates {
    folder: Option<PathBuf>,
    tickets: Tickets,
    known: RefCell<BTreeMap<CertificateName, Known>>,
    renewals: Cell<u64>,
    refusals: Cell<u64>,
}

impl Certificates {
    /// Below `folder`, as `NAMESPACE/NAME/tls.crt` and `tls.key`.
    pub fn new(folder: Option<PathBuf>) -> Result<Rc<Self>, rustls::Error> {
        let known = RefCell::default();
        let (renewals, refusals) = (Cell::new(0), Cell::new(0));
        Ok(Rc::new(Self { folder, tickets: Tickets::new()?, known, renewals, refusals }))
    }

    /// Reads what a plan names, before it comes into force, and forgets the rest.
    pub fn serve(&self, plan: &Plan) {
        let named = plan.certificates();
        let mut known = self.known.borrow_mut();
        known.retain(|name, _| named.contains(name));
        for name in named {
            if known.contains_key(&name) {
                continue;
            }
            let Some(folder) = &self.folder else {
                tracing::error!(certificate = %name, "a certificate is wanted, and there is no --certificates to find it in");
                continue;
            };
            let folder = Folder::new(folder.join(name.namespace()).join(name.name()));
            let mut fresh = Known { folder, pair: None, worse: None, trouble: None };
            self.look(&name, &mut fresh);
            known.insert(name, fresh);
        }
        drop(known);
        self.show(plan);
    }

    /// Looks at the folders again and again.
    pub async fn run(self: Rc<Self>, plan: CurrentPlan) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let mut renewed = false;
            for (name, known) in &mut *self.known.borrow_mut() {
                renewed |= self.look(name, known);
            }
            if renewed && let Some(plan) = &*plan.load() {
                self.show(plan);
            }
        }
    }

    /// Takes what is new in a folder; what cannot be used changes nothing. Whether anything changed.
    fn look(&self, name: &CertificateName, known: &mut Known) -> bool {
        match known.folder.look(UnixTime::now()) {
            None => match known.worse.take() {
                // What was better may be over now.
                Some(pair) if known.worsened(&pair).is_none() => self.install(name, known, pair),
                worse => {
                    known.worse = worse;
                    false
                }
            },
            Some(Ok(pair)) => self.weigh(name, known, Arc::new(pair)),
            Some(Err(error)) => {
                self.refusals.set(self.refusals.get() + 1);
                known.worse = None;
                known.trouble = Some(error.code());
                let kept = known.pair.as_ref().map(|pair| pair.leaf().not_after_unix);
                tracing::error!(
                    certificate = %name,
                    reason = error.code(),
                    error = &error as &dyn std::error::Error,
                    kept_until_unix = kept,
                    "a certificate is not put into force"
                );
                false
            }
        }
    }

    /// Puts a pair into force, unless clients would believe the one in force rather.
    fn weigh(&self, name: &CertificateName, known: &mut Known, pair: Arc<Pair>) -> bool {
        let Some(problem) = known.worsened(&pair) else { return self.install(name, known, pair) };
        self.refusals.set(self.refusals.get() + 1);
        tracing::error!(
            certificate = %name,
            reason = problem.code(),
            kept_until_unix = known.pair.as_ref().map(|pair| pair.leaf().not_after_unix),
            "a certificate is not put into force, since the one in force is better: {problem}"
        );
        known.trouble = Some(problem.code());
        known.worse = Some(pair);
        false
    }

    fn install(&self, name: &CertificateName, known: &mut Known, pair: Arc<Pair>) -> bool {
        if known.folder.is_key_open() {
            tracing::warn!(certificate = %name, "others than its owner may read the key of a certificate");
        }
        tracing::info!(certificate = %name, until_unix = pair.leaf().not_after_unix, "a certificate is put into force");
        let trouble = pair.unstapled().map(|unstapled| {
            tracing::warn!(certificate = %name, reason = unstapled.code(), "no OCSP response is stapled: {unstapled}");
            unstapled.code()
        });
        (known.pair, known.worse, known.trouble) = (Some(pair), None, trouble);
        self.renewals.set(self.renewals.get() + 1);
        true
    }

    /// Has the listeners and the upstreams of a plan show what there is.
    fn show(&self, plan: &Plan) {
        let known = self.known.borrow();
        let pair = |name: &CertificateName| known.get(name).and_then(|known| known.pair.clone());
        for listener in plan.tls_listeners() {
            listener.renew(pair, &self.tickets);
        }
        for (name, shown) in plan.upstreams() {
            shown.set(pair(name).as_deref());
        }
    }

    /// What people are told of all of them.
    pub fn view(&self) -> Vec<ShownView> {
        let known = self.known.borrow();
        let view = |(name, known): (&CertificateName, &Known)| {
            let chain = known.pair.iter().flat_map(|pair| std::iter::once(pair.leaf()).chain(pair.above()));
            ShownView {
                name: name.to_string(),
                serial: known.pair.as_ref().map(|pair| pair.leaf().serial.clone()).unwrap_or_default(),
                until_unix: chain.map(|facts| facts.not_after_unix).min().unwrap_or(0),
                trouble: known.trouble,
            }
        };
        known.iter().map(view).collect()
    }

    /// The same, with each certificate.
    pub fn certs(&self) -> Vec<ShownCerts> {
        let known = self.known.borrow();
        let certs = |(name, known): (&CertificateName, &Known)| {
            let leaf = known.pair.iter().map(|pair| CertView::of("leaf", pair.leaf()));
            let above = known.pair.iter().flat_map(|pair| pair.above());
            let certificates = leaf.chain(above.map(|facts| CertView::of("intermediate", facts))).collect();
            ShownCerts { name: name.to_string(), certificates, trouble: known.trouble }
        };
        known.iter().map(certs).collect()
    }

    /// Writes when certificates end, and whether new ones come.
    pub fn write(&self, exposition: &mut Exposition) {
        if self.folder.is_none() {
            return;
        }
        exposition
            .counter(
                "outrigger_edge_certificate_renewals_total",
                "Times that a certificate of --certificates was put into force.",
            )
            .sample(&[], self.renewals.get());
        exposition
            .counter(
                "outrigger_edge_certificate_refusals_total",
                "Times that what was found in --certificates was not put into force.",
            )
            .sample(&[], self.refusals.get());
        for (name, known) in &*self.known.borrow() {
            let (name, pair) = (name.to_string(), known.pair.as_ref());
            let leaf = ("leaf", pair.map_or(0, |pair| pair.leaf().not_after_unix));
            let above = pair.and_then(|pair| pair.above().iter().map(|facts| facts.not_after_unix).min());
            for (role, until) in std::iter::once(leaf).chain(above.map(|until| ("intermediate", until))) {
                exposition
                    .gauge(
                        "outrigger_edge_certificate_expiry_timestamp_seconds",
                        "When a certificate of --certificates ends, in seconds since 1970; 0 if there is none that can be used.",
                    )
                    .sample(&[("certificate", &name), ("role", role)], until.max(0) as u64);
            }
            if let Some(reason) = known.trouble {
                exposition
                    .gauge(
                        "outrigger_edge_certificate_trouble",
                        "1: why what is found in --certificates is not used.",
                    )
                    .sample(&[("certificate", &name), ("reason", reason)], 1_u64);
            }
        }
    }
}
