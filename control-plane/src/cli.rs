//! `outrigger`, the command line: what people and CI say to a mesh.

mod admin;
mod certs;
mod client;
mod difference;
mod edit;
mod explain;
mod files;
mod inspect;
mod intercept;
mod keys;
mod local;
mod output;
mod published;
mod quarantine;
mod read;
mod status;
mod store;
mod tap;
mod times;
mod top;
mod traffic;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use output::{Exit, Failed};

const AFTER_HELP: &str = "\
Each flag can also be set as OUTRIGGER_<FLAG> in the environment.

Examples:
  outrigger publish --store ./mesh -f mesh.yaml          publish once, with no control plane running
  outrigger apply -f cart.yaml -m 'cart: canary to 10 %' push through a control plane
  outrigger explain GET http://cart/checkout -f mesh.yaml   which route, cluster and timeouts would apply
  outrigger why --last                                   why the last request that failed has failed

Exit codes: 0 done, 1 refused or a problem found, 2 wrong usage, 3 server or store not reachable.";

/// Outrigger's command line.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, after_help = AFTER_HELP, max_term_width = 110)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add or change resources
    Apply(edit::Apply),
    /// Remove resources
    Delete(edit::Delete),
    /// Show resources
    Get(read::Resources),
    /// Show what `apply` would change
    Diff(edit::Diff),
    /// Check files, without a server
    Validate(local::Validate),
    /// Show what is published, and which proxies run what
    Status(status::Status),
    /// Show who changed what when
    History(read::History),
    /// Make a new revision with the content of an older one
    Rollback(edit::Rollback),
    /// Compile, sign and publish once, with no control plane running
    Publish(store::Publish),
    /// Make a mesh in a store, or bring one back
    #[command(subcommand)]
    Store(store::Store),
    /// Remove from a store what nothing needs any more
    Gc(store::Gc),
    /// Signing keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// The authority of a mesh, and certificates that prove identities
    #[command(subcommand)]
    Certs(certs::Certs),
    /// Have the connections of this network namespace go through the proxy
    #[command(subcommand)]
    Intercept(intercept::Intercept),
    /// Let a proxy run a snapshot again that it has put in quarantine
    Unquarantine(quarantine::Unquarantine),
    /// Show which route, cluster, filters and timeouts a request would get
    Explain(explain::Explain),
    /// Tell why requests have failed, as the proxies that carried them saw it
    Why(why::Why),
    /// Show requests as they end
    Tap(tap::Tap),
    /// Show what goes through proxies, per route and per endpoint, as it goes
    Top(top::Top),
    /// Print the JSON Schema of a kind, or of all
    Schema(local::Schema),
    /// Look into snapshots
    #[command(subcommand)]
    Snapshot(inspect::Snapshot),
}

/// Which control plane, and how to be let in.
#[derive(Debug, Clone, Args)]
struct Server {
    /// The control plane's API
    #[arg(long, value_name = "URL", env = "OUTRIGGER_SERVER", default_value = "http://127.0.0.1:15300")]
    server: String,

    /// File with the API's bearer token
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Certificate (PEM) of the authority that signed the server's, if the system doesn't know it
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// Who changes something, and why.
#[derive(Debug, Clone, Args)]
struct Reason {
    /// Why, for the history
    #[arg(long, short, value_name = "TEXT", env = "OUTRIGGER_MESSAGE", default_value = "")]
    message: String,

    /// Who, for the history [default: the user's name]
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_AUTHOR")]
    author: Option<String>,

    /// Allow to empty a scope, or to remove over 30 % of its routes or endpoints in one step
    #[arg(long, env = "OUTRIGGER_ALLOW_SHRINK")]
    allow_shrink: bool,
}

impl Reason {
    fn author(&self) -> String {
        let from_system = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        self.author.clone().or_else(|| from_system().ok()).unwrap_or_else(|| "unknown".to_owned())
    }
}

/// Runs the command line of `arguments` (the program's name first) and says how it went.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => return output::usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::finish(Err(Failed::problem("can't start", &error))),
    };
    output::finish(runtime.block_on(dispatch(command.verb)))
}

async fn dispatch(verb: Verb) -> Result<Exit, Failed> {
    match verb {
        Verb::Apply(apply) => apply.run().await,
        Verb::Delete(delete) => delete.run().await,
        Verb::Get(get) => get.run().await,
        Verb::Diff(diff) => diff.run().await,
        Verb::Validate(validate) => validate.run(),
        Verb::Status(status) => status.run().await,
        Verb::History(history) => history.run().await,
        Verb::Rollback(rollback) => rollback.run().await,
        Verb::Publish(publish) => publish.run().await,
        Verb::Store(store) => store.run().await,
        Verb::Gc(gc) => gc.run().await,
        Verb::Keys(keys) => keys.run().await,
        Verb::Certs(certs) => certs.run().await,
        Verb::Intercept(intercept) => intercept.run().await,
        Verb::Unquarantine(unquarantine) => unquarantine.run(),
        Verb::Explain(explain) => explain.run().await,
        Verb::Why(why) => why.run().await,
        Verb::Tap(tap) => tap.run().await,
        Verb::Top(top) => top.run().await,
        Verb::Schema(schema) => schema.run(),
        Verb::Snapshot(snapshot) => snapshot.run().await,
    }
}

#[cfg(test)]
mod tests;
