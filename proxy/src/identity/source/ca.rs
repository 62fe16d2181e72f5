//! The mesh's own authority (`--ca`): a certificate for a join token, and from then on a new one for the current one, in good time. What was
//! had last is kept in the state folder, so that a restart needs nobody.

mod ask;
pub mod renewal;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::enrol::Trust;
use outrigger_certs::files::is_open;
use outrigger_certs::pem::{self, PemError};
use outrigger_certs::problem::Problem;
use outrigger_certs::request::{NewKey, RequestError};
use outrigger_certs::svid::Svid;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use outrigger_snapshot::identity::{SpiffeId, TrustDomain};
use outrigger_snapshot::join_token::{JoinToken, TokenError, TokenText};
use outrigger_snapshot::name::ServiceName;
use rustls_pki_types::UnixTime;
use tokio::time::{Instant, sleep};

use self::ask::{Answer, AskError, Proof, ask};
use crate::config::{CertificateAuthority, TokenFromError};
use crate::identity::{Keeper, Trouble};
use crate::source::chain;
use crate::state_dir::{LastIdentity, Pair, Secret, StateDir, StateFile as _};

/// Longest sleep before the clock is looked at again: it may be set, and machines are put to sleep.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// How often whoever waits for another try looks whether there is another join token.
const TOKEN_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Nothing to prove oneself with.
    #[error(
        "it needs a join token (--join-token-file, or OUTRIGGER_JOIN_TOKEN): make one with `outrigger certs token create --service {0}`"
    )]
    NoToken(ServiceName),
    /// Its file.
    #[error(transparent)]
    TokenFrom(#[from] TokenFromError),
    /// What is in it.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The key or the request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The control plane.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// What it answered is not PEM.
    #[error("the control plane's answer can't be used")]
    Pem(#[from] PemError),
    /// What it answered is wrong.
    #[error("the certificate that the control plane made can't be used: {0}")]
    Unusable(Problem),
    /// It is for somebody else.
    #[error("the control plane made a certificate for {0}, which was not asked for")]
    Misnamed(SpiffeId),
    /// Nobody would believe it.
    #[error(
        "the certificate that the control plane made is not believed by the mesh ({0}): push the Mesh with both authorities before the new one makes \
         certificates"
    )]
    Unbelieved(Problem),
    /// The certificate that it had was refused, and what it tried then failed, too: a join token, or the same again.
    #[error("{}; and then", first.why)]
    Both {
        /// What comes first, and is to be mended.
        first: Trouble,
        /// What came after that.
        #[source]
        then: Box<CaError>,
    },
}

impl CaError {
    /// Whether a certificate came, and was not good enough.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Both { then, .. } => then.is_refusal(),
            _ => matches!(self, Self::Pem(_) | Self::Unusable(_) | Self::Misnamed(_) | Self::Unbelieved(_)),
        }
    }

    /// Its word in metrics.
    fn reason(&self) -> String {
        match self {
            Self::NoToken(_) => "no_token".to_owned(),
            Self::TokenFrom(_) | Self::Token(_) => "token_unreadable".to_owned(),
            Self::Request(_) => "request".to_owned(),
            Self::Ask(error) => error.reason(),
            Self::Both { first, .. } => first.reason.clone(),
            Self::Pem(error) => error.code().to_owned(),
            Self::Unusable(problem) | Self::Unbelieved(problem) => problem.code().to_owned(),
            Self::Misnamed(_) => Problem::WrongName.code().to_owned(),
        }
    }

    /// Whether another proof may help.
    fn is_about_the_proof(&self) -> bool {
        matches!(self, Self::Ask(error) if error.is_about_the_proof())
    }

    /// Whether it was not even looked at, for what has failed before.
    fn is_held_off(&self) -> bool {
        matches!(self, Self::Ask(error) if error.is_held_off())
    }

    /// For how long nothing will be looked at.
    fn held_off(&self) -> Option<Duration> {
        match self {
            Self::Both { then, .. } => then.held_off(),
            Self::Ask(error) => error.held_off(),
            _ => None,
        }
    }

    fn trouble(&self) -> Trouble {
        Trouble { reason: self.reason(), why: chain(self) }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Source {
    authority: CertificateAuthority,
    service: ServiceName,
    state: Arc<StateDir>,
    keeper: Rc<Keeper>,
    last: LastIdentity,
    /// Why the certificate that it has, or had last, was refused.
    refused: Option<Trouble>,
}

impl Source {
    /// Puts what is in the state folder into force, if that can be used.
    pub(super) fn open(
        authority: CertificateAuthority,
        service: ServiceName,
        state: Arc<StateDir>,
        keeper: Rc<Keeper>,
    ) -> Self {
        let kept = state.path().join(LastIdentity::NAME);
        if is_open(&kept) {
            tracing::warn!(file = %kept.display(), "others than its owner may read the key of the certificate");
        }
        let last = state.read_or_warn::<LastIdentity>().unwrap_or_default();
        let source = Self { authority, service, state, keeper, last, refused: None };
        if let Some(pair) = &source.last.pair {
            match source.stored(pair) {
                Ok(svid) => source.keeper.install(svid),
                Err(error) => {
                    tracing::warn!("the certificate in the state folder is not used: {}", chain(&error))
                }
            }
        }
        source
    }

    fn stored(&self, pair: &Pair) -> Result<Svid, CaError> {
        let svid = usable(&pair.chain, pair.key.reveal(), UnixTime::now())?;
        let own = svid.id().service().as_ref() == Some(&self.service);
        if own { Ok(svid) } else { Err(CaError::Misnamed(svid.id().clone())) }
    }

    /// Asks for a certificate whenever one is due.
    pub(super) async fn run(mut self) {
        let mut failures = 0_u32;
        self.until_due().await;
        loop {
            let token = self.authority.token().ok().flatten();
            match self.renew().await {
                Ok(()) => {
                    failures = 0;
                    self.until_due().await;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if error.is_refusal() {
                        self.keeper.refuse(error.trouble())
                    } else {
                        self.keeper.fail(error.trouble())
                    }
                    let now = UnixTime::now();
                    let left = self.keeper.valid(now).map(|svid| left(&svid, now));
                    let held_off = error.held_off();
                    let pause = renewal::pause(failures, left, held_off, fastrand::f64());
                    self.pause(pause, held_off.unwrap_or_default(), token).await;
                }
            }
        }
    }

    /// Waits for so long; once nothing is held off, another join token than this one ends it.
    async fn pause(&self, pause: Duration, held_off: Duration, token: Option<TokenText>) {
        let begun = Instant::now();
        while let Some(left) = pause.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            sleep(left.min(TOKEN_LOOK_EVERY)).await;
            if begun.elapsed() >= held_off && self.authority.token().is_ok_and(|now| now != token) {
                return;
            }
        }
    }

    /// Waits until the certificate is to be renewed; not at all, if there is none.
    async fn until_due(&self) {
        let Some(pair) = &self.last.pair else { return };
        let Some(svid) = self.keeper.valid(UnixTime::now()) else { return };
        let until = u64::try_from(svid.not_after_unix()).unwrap_or(0);
        let due = renewal::due(pair.since_unix, until, fastrand::f64());
        self.keeper.renews_at(due);
        loop {
            let wait = due.saturating_sub(UnixTime::now().as_secs());
            if wait == 0 || !self.is_believed(&svid) {
                return;
            }
            sleep(Duration::from_secs(wait).min(SLEEP_MAX)).await;
        }
    }

    /// Whether the mesh would believe it. One that was made by an authority that is gone is as good as none, however long it would last.
    fn is_believed(&self, svid: &Svid) -> bool {
        let Some((bundle, (leaf, above))) = self.keeper.bundle().zip(svid.chain().split_first()) else {
            return true;
        };
        Verifier::new(bundle).verify(leaf, above, UnixTime::now()).is_ok()
    }

    /// Gets a new certificate, by the current one or else by a join token.
    async fn renew(&mut self) -> Result<(), CaError> {
        let Some(svid) = self.keeper.valid(UnixTime::now()) else {
            // The clock may have been wrong when it was looked at before.
            let stored = self.last.pair.as_ref().and_then(|pair| self.stored(pair).ok());
            let Some(stored) = stored else { return self.join_at_last().await };
            self.keeper.install(stored);
            return Ok(());
        };
        let domain = svid.id().domain().parse().map_err(|_| CaError::Misnamed(svid.id().clone()))?;
        let trust = Trust { bundle: self.believed(&domain), pinned: None };
        // With a new key each time: whoever has stolen one is out.
        match self.get(domain, trust, Proof::Certificate(svid), NewKey::generate()?).await {
            Err(error @ CaError::Ask(_)) if error.is_about_the_proof() => {
                self.refused = Some(error.trouble());
                self.join_at_last().await
            }
            Err(error) if error.is_held_off() => Err(self.after_all(error)),
            renewed => renewed,
        }
    }

    /// Gets a certificate by a join token.
    async fn join_at_last(&mut self) -> Result<(), CaError> {
        let joined = self.join().await;
        joined.map_err(|then| self.after_all(then))
    }

    /// What was wrong at first is said first.
    fn after_all(&self, then: CaError) -> CaError {
        match self.refused.clone() {
            Some(first) => CaError::Both { first, then: Box::new(then) },
            None => then,
        }
    }

    /// Gets a certificate by a join token.
    async fn join(&mut self) -> Result<(), CaError> {
        let text = self.authority.token()?.ok_or_else(|| CaError::NoToken(self.service.clone()))?;
        let token = JoinToken::inspect(text.reveal())?;
        // The token is as trusted as the flags; what was believed before may be of roots that are gone.
        let pinned = Some((token.domain.clone(), token.roots));
        let trust = Trust { bundle: self.believed(&token.domain), pinned };
        let key = self.pending()?;
        self.get(token.domain, trust, Proof::Token(text), key).await
    }

    /// The key that the join token is used for: the same until an answer comes, even after a restart, since a token is good for one.
    fn pending(&mut self) -> Result<NewKey, CaError> {
        if let Some(key) = &self.last.pending {
            return Ok(NewKey::read(key.reveal())?);
        }
        let key = NewKey::generate()?;
        self.last.pending = Some(Secret::from(key.pem()));
        self.keep();
        Ok(key)
    }

    /// Who is believed to be the control plane: by the snapshot, or by what the control plane said last.
    fn believed(&self, domain: &TrustDomain) -> Option<Arc<TrustBundle>> {
        self.keeper.bundle().filter(|bundle| bundle.domain() == domain).or_else(|| {
            let told = pem::roots(self.last.pair.as_ref()?.roots.as_bytes(), "the state folder").ok()?;
            TrustBundle::new(domain.clone(), &told, &[]).ok().map(Arc::new)
        })
    }

    async fn get(
        &mut self,
        domain: TrustDomain,
        trust: Trust,
        proof: Proof,
        key: NewKey,
    ) -> Result<(), CaError> {
        let id = SpiffeId::of_service(&domain, &self.service);
        let Answer { chain, roots } = ask(&self.authority, trust, &proof, key.request(&id)?).await?;
        let (now, pem) = (UnixTime::now(), key.pem());
        let svid = usable(&chain, &pem, now)?;
        if *svid.id() != id {
            return Err(CaError::Misnamed(svid.id().clone()));
        }
        if let (Some(bundle), Some((leaf, above))) = (self.keeper.bundle(), svid.chain().split_first()) {
            Verifier::new(bundle).verify(leaf, above, now).map_err(CaError::Unbelieved)?;
        }
        pem::roots(roots.as_bytes(), "the control plane's answer")?;
        let pair = Pair { key: Secret::from(pem), chain, roots, since_unix: now.as_secs() };
        self.last = LastIdentity { pair: Some(pair), pending: None, ..LastIdentity::default() };
        self.keep();
        self.refused = None;
        self.keeper.install(svid);
        Ok(())
    }

    /// A certificate that cannot be kept is used all the same: without it there would be none now, and not only after a restart.
    fn keep(&self) {
        if let Err(error) = self.state.write(&self.last) {
            tracing::warn!("the certificate cannot be kept for a restart: {error}");
        }
    }
}

fn usable(chain: &str, key: &str, now: UnixTime) -> Result<Svid, CaError> {
    let origin = "the certificate";
    let key = pem::key(key.as_bytes(), origin)?;
    Svid::new(pem::chain(chain.as_bytes(), origin)?, &key, now).map_err(CaError::Unusable)
}

fn left(svid: &Svid, now: UnixTime) -> Duration {
    let until = u64::try_from(svid.not_after_unix()).unwrap_or(0);
    Duration::from_secs(until.saturating_sub(now.as_secs()))
}
