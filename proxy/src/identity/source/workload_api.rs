//! An agent of the SPIFFE Workload API (`--workload-api`), such as SPIRE's: it knows the process that asks, and tells each new certificate and
//! each change of the authorities by itself. Nothing of it is kept on disk: the agent is on this machine.

use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use outrigger_certs::problem::Problem;
use outrigger_certs::svid::Svid;
use outrigger_snapshot::name::ServiceName;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context, X509Svid};
use tokio::time::{sleep, timeout};

use crate::config::WorkloadSocket;
use crate::identity::{Keeper, Told, Trouble};
use crate::source::chain;

/// How long an agent has to answer for the first time.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a certificate is looked at again that came before its time.
const LOOK: Duration = Duration::from_secs(2);
/// Longest pause between two tries to reach it.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    /// The agent, or the way to it.
    #[error(
        "the agent at {at} (--workload-api) tells no identity; is it running, and is there an entry for this process?"
    )]
    Agent { at: String, source: WorkloadApiError },
    /// It is silent.
    #[error("the agent at {at} (--workload-api) has not answered in {} s", ANSWER.as_secs())]
    Silent { at: String },
    /// It has left.
    #[error("the agent at {at} (--workload-api) has ended the connection")]
    Ended { at: String },
}

impl AgentError {
    /// Its word in metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Agent { .. } => "agent",
            Self::Silent { .. } => "late",
            Self::Ended { .. } => "broken",
        }
    }
}

/// Why a certificate that came is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    /// It is for somebody else.
    #[error("the agent knows this process as {found}; beside {service} it must be spiffe://TRUST-DOMAIN/ns/{}/svc/{}: make an entry for that", service.namespace(), service.name())]
    Misnamed { found: String, service: ServiceName },
    /// It is wrong.
    #[error("the certificate that the agent made can't be used: {0}")]
    Problem(Problem),
}

impl Unusable {
    fn problem(&self) -> Problem {
        match self {
            Self::Misnamed { .. } => Problem::WrongName,
            Self::Problem(problem) => *problem,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Source {
    socket: WorkloadSocket,
    service: ServiceName,
    keeper: Rc<Keeper>,
}

impl Source {
    pub(super) fn new(socket: WorkloadSocket, service: ServiceName, keeper: Rc<Keeper>) -> Self {
        Self { socket, service, keeper }
    }

    /// Listens to the agent, and looks for it again whenever it is gone.
    pub(super) async fn run(self) {
        let mut failures = 0_u32;
        loop {
            let error = self.listen(&mut failures).await;
            failures = failures.saturating_add(1);
            self.keeper.fail(Trouble { reason: error.reason().to_owned(), why: chain(&error) });
            let most = PAUSE_MAX.min(Duration::from_secs(1 << failures.min(5)));
            sleep(most.mul_f64(fastrand::f64())).await;
        }
    }

    /// Takes what the agent tells until it tells no more.
    async fn listen(&self, failures: &mut u32) -> AgentError {
        let at = || self.socket.to_string();
        let failed = |source| AgentError::Agent { at: at(), source };
        let begun = timeout(ANSWER, async {
            let client = WorkloadApiClient::connect(self.socket.endpoint()).await?;
            let mut contexts = client.stream_x509_contexts().await?;
            let first = contexts.next().await;
            Ok((contexts, first))
        });
        let (mut contexts, mut told) = match begun.await {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return failed(error),
            Err(_) => return AgentError::Silent { at: at() },
        };
        while let Some(context) = told {
            let context = match context {
                Ok(context) => context,
                Err(error) => return failed(error),
            };
            *failures = 0;
            let mut untimely = self.take(&context, None);
            told = loop {
                tokio::select! {
                    next = contexts.next() => break next,
                    () = sleep(LOOK), if untimely.is_some() => untimely = self.take(&context, untimely),
                }
            };
        }
        AgentError::Ended { at: at() }
    }

    /// The authorities first: the certificate may be of a new one. Says what time alone can mend, which was `told` before, perhaps.
    fn take(&self, context: &X509Context, told: Option<Problem>) -> Option<Problem> {
        let own = context.svids().iter().find(|svid| self.is_own(svid)).or(context.default_svid());
        let svid = own?;
        if let Some(bundle) = context.bundle_set().get(svid.spiffe_id().trust_domain())
            && let Ok(domain) = bundle.trust_domain().as_str().parse()
        {
            let roots = bundle.authorities().iter();
            let roots = roots.map(|root| CertificateDer::from(root.as_bytes().to_vec())).collect();
            self.keeper.tell(Told { domain, roots });
        }
        match self.usable(svid) {
            Ok(svid) if self.keeper.valid(UnixTime::now()).is_some_and(|old| old.chain() == svid.chain()) => {
                self.keeper.confirm()
            }
            Ok(svid) => self.keeper.install(svid),
            Err(error) => {
                let problem = error.problem();
                let untimely =
                    Some(problem).filter(|found| matches!(found, Problem::NotYetValid | Problem::Expired));
                if untimely.is_none() || untimely != told {
                    self.keeper.refuse(Trouble { reason: problem.code().to_owned(), why: chain(&error) });
                }
                return untimely;
            }
        }
        None
    }

    fn is_own(&self, svid: &X509Svid) -> bool {
        let id = svid.spiffe_id().to_string().parse::<outrigger_snapshot::identity::SpiffeId>();
        id.is_ok_and(|id| id.service().as_ref() == Some(&self.service))
    }

    fn usable(&self, svid: &X509Svid) -> Result<Svid, Unusable> {
        if !self.is_own(svid) {
            let found = svid.spiffe_id().to_string();
            return Err(Unusable::Misnamed { found, service: self.service.clone() });
        }
        let chain = svid.cert_chain().iter();
        let chain = chain.map(|certificate| CertificateDer::from(certificate.as_bytes().to_vec())).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(svid.private_key().as_bytes()));
        Svid::new(chain, &key, UnixTime::now()).map_err(Unusable::Problem)
    }
}
