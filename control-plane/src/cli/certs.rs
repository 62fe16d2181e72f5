//! `certs`: the authority of a mesh, kept in a folder, and the certificates that it makes.

mod file;
mod revocations;
mod status;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use outrigger_certs::authority::{Authority, Made, make_root};
use outrigger_certs::inspect::Facts;
use outrigger_certs::{enrol, pem, svid};
use outrigger_snapshot::identity::{SpiffeId, TrustDomain};
use outrigger_snapshot::name::ServiceName;
use outrigger_store::write::whole_file::Readers;
use rustls_pki_types::UnixTime;

use super::output::{self, Exit, Failed};
use crate::enrol::folder;

/// Longest `--lifetime` of a sidecar's certificate: a month.
const LIFETIME_MAX: Duration = Duration::from_secs(31 * 86_400);
/// Shortest: a certificate that ends before it has spread is of no use.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// How long a root lasts: ten years.
const ROOT_LIFETIME: Duration = Duration::from_secs(3_652 * 86_400);
/// How long an intermediate lasts: a year.
const INTERMEDIATE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

#[derive(Debug, Subcommand)]
pub(super) enum Certs {
    /// Make the authority of a mesh: a root, and an intermediate that vouches for sidecars
    #[command(
        after_help = "Writes root.crt, root.key, ca.crt, ca.key and mesh.yaml. Nothing is overwritten, and keys are readable by their owner only. Only ca.crt \
                            and ca.key are needed to make certificates: take root.key away to where nobody comes, until the intermediate \
                            has to be replaced.\n\nExample:\n  outrigger certs init --trust-domain example.org ca"
    )]
    Init(Init),
    /// Make a new intermediate by the same root, before the old one ends
    #[command(
        after_help = "Needs root.key beside root.crt, and writes ca.crt and ca.key in place of those that are there. A control plane that has the folder as \
                            --ca uses them at once.\n\nExample:\n  outrigger certs renew ca"
    )]
    Renew(Renew),
    /// Make a certificate, and its key, that proves a service's identity
    #[command(
        after_help = "Writes NAMESPACE.NAME.crt and NAMESPACE.NAME.key, in place of those that are there: a sidecar that watches them uses the new ones \
                            at once.\n\nExample:\n  outrigger certs issue --ca ca --service shop/cart /etc/outrigger"
    )]
    Issue(Issue),
    /// Make the list that takes certificates back: a part of `revocations` of the Mesh resource
    #[command(
        after_help = "The list goes to standard output, with the certificate of the intermediate below it. All lists of an authority count: add it to those that \
                            are in `spec.revocations` of the Mesh, and push that.\n\nExample:\n  outrigger certs revocations --ca ca 3f:0a:… > taken-back.pem"
    )]
    Revocations(revocations::Revocations),
    /// Show what certificates say, and when they end
    #[command(after_help = "Example:\n  outrigger certs show ca/*.crt")]
    Show(Show),
    /// List every certificate of the mesh, with what breaks when it ends; what ends first is on top
    #[command(after_help = "Example:\n  outrigger certs status -o json")]
    Status(status::Status),
    /// Join tokens, by which sidecars get their first certificate from the control plane
    #[command(subcommand)]
    Token(token::Token),
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The name that all identities of the mesh have in common: a DNS name
    #[arg(long, value_name = "DOMAIN", env = "OUTRIGGER_TRUST_DOMAIN")]
    trust_domain: TrustDomain,
    /// Where to keep it
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Renew {
    /// The folder of the authority, as `outrigger certs init` made it
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    /// The folder of the authority, as `outrigger certs init` made it
    #[arg(long, value_name = "FOLDER", env = "OUTRIGGER_CA")]
    ca: PathBuf,
    /// Whose identity: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_SERVICE")]
    service: ServiceName,
    /// How long it is valid: 1m to 744h
    #[arg(long, value_name = "TIME", env = "OUTRIGGER_LIFETIME", default_value = "72h", value_parser = lifetime)]
    lifetime: Duration,
    /// Where to write it
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Certificates in PEM
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = crate::bootstrap::duration::parse(text)?;
    let within = (LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime);
    if within { Ok(lifetime) } else { Err("expected 1m to 744h".to_owned()) }
}

impl Certs {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Init(init) => init.run(),
            Self::Renew(renew) => renew.run(),
            Self::Issue(issue) => issue.run(),
            Self::Revocations(revocations) => revocations.run(),
            Self::Show(show) => show.run(),
            Self::Status(status) => status.run().await,
            Self::Token(token) => token.run().await,
        }
    }
}

impl Init {
    fn run(self) -> Result<Exit, Failed> {
        let (domain, now) = (&self.trust_domain, UnixTime::now());
        let failed = |error| Failed::problem("can't make an authority", &error);
        let root = make_root(domain, ROOT_LIFETIME, now).map_err(failed)?;
        let authority = load(&root, now)?;
        let made = authority.make_intermediate(domain, INTERMEDIATE_LIFETIME, now).map_err(failed)?;
        let mesh = mesh(domain, &root.certificate);
        for (name, text, readers) in [
            ("root.key", root.key.as_str(), Readers::Owner),
            ("root.crt", &root.certificate, Readers::All),
            ("ca.key", &made.key, Readers::Owner),
            ("ca.crt", &made.certificate, Readers::All),
            ("mesh.yaml", &mesh, Readers::All),
        ] {
            file::create(&self.folder.join(name), text, readers)
                .map_err(|error| Failed::problem("can't keep the authority", &error))?;
        }
        let at = |name: &str| self.folder.join(name).display().to_string();
        output::line(&format!("{} is what the mesh believes: push it", at("mesh.yaml")));
        output::line(&format!(
            "{} and {} make certificates: outrigger certs issue",
            at("ca.crt"),
            at("ca.key")
        ));
        output::line(&format!("{} is needed again in a year: take it to where nobody comes", at("root.key")));
        Ok(Exit::Done)
    }
}

impl Renew {
    fn run(self) -> Result<Exit, Failed> {
        let now = UnixTime::now();
        let read = |name: &str| {
            let read = pem::read(&self.folder.join(name), "PEM");
            read.map_err(|error| Failed::problem("can't use the root", &error))
        };
        let (root, key) = (read("root.crt")?, read("root.key")?);
        let domain = folder::domain(&self.folder).map_err(|error| Failed::problem("", &error))?;
        let failed = |error| Failed::problem("can't make an intermediate", &error);
        let origin = self.folder.join("root.crt").display().to_string();
        let root = Authority::load(&root, &key, &origin, now).map_err(failed)?;
        let made = root.make_intermediate(&domain, INTERMEDIATE_LIFETIME, now).map_err(failed)?;
        // The key first: who looks between the two keeps what it has.
        for (name, text, readers) in
            [("ca.key", made.key.as_str(), Readers::Owner), ("ca.crt", &made.certificate, Readers::All)]
        {
            file::replace(&self.folder.join(name), text, readers)
                .map_err(|error| Failed::problem("can't keep the intermediate", &error))?;
        }
        let until = facts_of(made.certificate.as_bytes(), "the intermediate")?;
        let until = until.first().map_or(0, |(facts, _)| facts.not_after_unix);
        output::line(&format!("the intermediate of {domain} is good until {}", date(until)));
        Ok(Exit::Done)
    }
}

fn load(made: &Made, now: UnixTime) -> Result<Authority, Failed> {
    Authority::load(made.certificate.as_bytes(), made.key.as_bytes(), "the root", now)
        .map_err(|error| Failed::problem("can't use the authority", &error))
}

/// The resource that has sidecars believe the root.
fn mesh(domain: &TrustDomain, root: &str) -> String {
    let bundle: String = root.lines().map(|line| format!("    {}\n", line.trim_end())).collect();
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: mesh}}\nspec:\n  trustDomain: {domain}\n  # What sidecars ask of callers, \
         where their Service says nothing. Disabled, until they have certificates;\n  # Permissive, until none calls in clear text any \
         more; then Strict.\n  mtls: Disabled\n  trustBundle: |\n{bundle}"
    )
}

impl Issue {
    fn run(self) -> Result<Exit, Failed> {
        if self.service == enrol::control_plane() {
            let why = "is the control plane's own identity, and no sidecar gets it";
            return Err(Failed::refused(format!("{} {why}", self.service)));
        }
        let now = UnixTime::now();
        let unusable = |error| Failed::problem("", &error);
        let authority = folder::authority(&self.ca, now).map_err(unusable)?;
        let domain = folder::domain(&self.ca).map_err(unusable)?;
        let failed = |error| Failed::problem("can't make a certificate", &error);
        let id = SpiffeId::of_service(&domain, &self.service);
        let made = authority.make(&id, self.lifetime, now).map_err(failed)?;
        let name = format!("{}.{}", self.service.namespace(), self.service.name());
        // The key first: a sidecar that looks between the two keeps what it has, and finds the pair at its next look.
        for (extension, text, readers) in
            [("key", made.key.as_str(), Readers::Owner), ("crt", &made.certificate, Readers::All)]
        {
            file::replace(&self.folder.join(format!("{name}.{extension}")), text, readers)
                .map_err(|error| Failed::problem("can't keep the certificate", &error))?;
        }
        let until = facts_of(made.certificate.as_bytes(), "the certificate")?;
        let until = until.first().map_or(0, |(facts, _)| facts.not_after_unix);
        output::line(&format!("{id} until {}", date(until)));
        Ok(Exit::Done)
    }
}

impl Show {
    fn run(self) -> Result<Exit, Failed> {
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let mut rows = Vec::new();
        for path in &self.files {
            let origin = path.display().to_string();
            let text = pem::read(path, "certificate").map_err(|error| Failed::problem("", &error))?;
            for (facts, identity) in facts_of(&text, &origin)? {
                let left = facts.not_after_unix - now;
                let left = if left > 0 { output::span(left as u64 * 1_000) } else { "over".to_owned() };
                let who = identity.unwrap_or(facts.subject);
                rows.push(vec![who, facts.issuer, date(facts.not_after_unix), left, origin.clone()]);
            }
        }
        output::table(&["WHO", "BY", "UNTIL", "LEFT", "FROM"], rows);
        Ok(Exit::Done)
    }
}

/// What each certificate says, and its SPIFFE ID if it has one.
fn facts_of(text: &[u8], origin: &str) -> Result<Vec<(Facts, Option<String>)>, Failed> {
    let chain = pem::roots(text, origin).map_err(|error| Failed::problem("", &error))?;
    let facts = chain.iter().map(|certificate| {
        let facts = Facts::of(certificate).map_err(|problem| Failed::problem(origin, &problem))?;
        Ok((facts, svid::identity(certificate).ok().map(|id| id.to_string())))
    });
    facts.collect()
}

/// A moment as people write it, in UTC.
fn date(unix: i64) -> String {
    let moment = time::OffsetDateTime::from_unix_timestamp(unix).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!("{} {:02}:{:02}Z", moment.date(), moment.hour(), moment.minute())
}
