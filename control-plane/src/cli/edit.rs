//! `apply`, `delete`, `diff`, `rollback`: changes through a control plane.

use std::path::PathBuf;

use clap::Args;

use super::client::Client;
use super::difference;
use super::files::{self, Files};
use super::output::{self, Exit, Failed};
use super::traffic::Traffic;
use super::{Reason, Server};
use crate::api::wire::{Change, Difference, History, Push, Pushed, Rollback as RollbackBody, Verb};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outrigger apply -f cart.yaml\n  outrigger apply -f mesh/ --base 12 -m 'raise timeouts'\n  \
                        generate | outrigger apply -f -"
)]
pub(super) struct Apply {
    #[command(flatten)]
    edit: Edit,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Only kind, namespace and name of the resources in the files count.\n\nExample:\n  outrigger delete -f cart.yaml"
)]
pub(super) struct Delete {
    #[command(flatten)]
    edit: Edit,
}

#[derive(Debug, Args)]
struct Edit {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    reason: Reason,
    /// Refuse if the newest revision isn't this one: nobody else has pushed since you looked
    #[arg(long, value_name = "N", env = "OUTRIGGER_BASE")]
    base: Option<u64>,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outrigger diff -f mesh/ --exit-code || outrigger apply -f mesh/\n  \
                        outrigger diff -f mesh/ --traffic access.log --store ./mesh --service web   which of these requests would go elsewhere\n  \
                        outrigger diff --traffic access.log --store ./mesh --service web --from 41 --to 42")]
pub(super) struct Diff {
    /// A file, a folder (its *.yaml, *.yml and *.json), or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE", required_unless_present = "to", num_args = 1.., env = "OUTRIGGER_FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    traffic: Traffic,
    /// Exit with 1 if something would change
    #[arg(long, env = "OUTRIGGER_EXIT_CODE")]
    exit_code: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
#[command(
    after_help = "History goes on: the old content becomes a new revision.\n\nExamples:\n  outrigger rollback\n  outrigger rollback --to 7"
)]
pub(super) struct Rollback {
    /// The revision whose content to have again [default: the one before the newest]
    #[arg(long, value_name = "N", env = "OUTRIGGER_TO")]
    to: Option<u64>,
    /// Refuse if the newest revision isn't this one [default: the newest when the command begins]
    #[arg(long, value_name = "N", env = "OUTRIGGER_BASE")]
    base: Option<u64>,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    server: Server,
}

impl Apply {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        self.edit.push(Verb::Apply).await
    }
}

impl Delete {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        self.edit.push(Verb::Delete).await
    }
}

impl Edit {
    async fn push(self, verb: Verb) -> Result<Exit, Failed> {
        let push = Push {
            verb,
            sources: self.files.texts()?,
            base: self.base,
            author: self.reason.author(),
            message: self.reason.message,
            allow_shrink: self.reason.allow_shrink,
        };
        let pushed = Client::new(&self.server)?.post("/v1/resources", &push).await?;
        tell(&pushed);
        Ok(Exit::Done)
    }
}

impl Diff {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        if let Some(log) = self.traffic.log() {
            let found = self.traffic.run(log, &self.files, &self.server).await?;
            return Ok(if self.exit_code { found } else { Exit::Done });
        }
        if self.files.is_empty() {
            return Err(Failed::usage("say which files: -f FILE; --to is for --traffic"));
        }
        let push = Push {
            verb: Verb::Apply,
            sources: files::texts(&self.files)?,
            base: None,
            author: String::new(),
            message: String::new(),
            allow_shrink: false,
        };
        let found: Difference = Client::new(&self.server)?.post("/v1/diff", &push).await?;
        for change in &found.changes {
            output::line(&difference::text(change)?);
        }
        for shrink in &found.shrinks {
            output::remark(&format!("needs --allow-shrink: {shrink}"));
        }
        let count = found.changes.len();
        output::remark(&match (count, found.revision) {
            (0, revision) => format!("no difference to revision {revision}"),
            (_, revision) => {
                format!(
                    "{count} would change; apply to just this with: outrigger apply --base {revision} -f …"
                )
            }
        });
        Ok(if self.exit_code && count > 0 { Exit::Found } else { Exit::Done })
    }
}

impl Rollback {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        let client = Client::new(&self.server)?;
        // What is newest now is what is to be undone: not what someone pushes a moment later.
        let base = match self.base {
            Some(base) => Some(base),
            None => {
                let newest: History = client.fetch("/v1/history", &[("limit", "1".to_owned())]).await?;
                newest.revisions.first().map(|newest| newest.revision)
            }
        };
        let before = base.and_then(|base| base.checked_sub(1)).filter(|before| *before > 0);
        let body = RollbackBody {
            to: self.to.or(before),
            base,
            author: self.reason.author(),
            message: self.reason.message,
            allow_shrink: self.reason.allow_shrink,
        };
        let pushed = client.post("/v1/rollback", &body).await?;
        tell(&pushed);
        Ok(Exit::Done)
    }
}

/// Says what was changed.
pub(super) fn tell(pushed: &Pushed) {
    for note in &pushed.notes {
        output::remark(note);
    }
    for change in &pushed.changes {
        output::line(&sentence(change));
    }
    if pushed.changes.is_empty() {
        output::line(&format!("nothing changed: revision {} has this already", pushed.revision));
    } else {
        output::line(&format!("revision {}", pushed.revision));
    }
}

fn sentence(change: &Change) -> String {
    let what = match (&change.before, &change.after) {
        (None, _) => "added",
        (_, None) => "removed",
        (Some(_), Some(_)) => "changed",
    };
    format!("{what} {} {}/{}", change.kind, change.namespace, change.name)
}
