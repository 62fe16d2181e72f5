//! `intercept`: has the kernel hand the connections of this network namespace to the proxy, by rules of nftables.

mod lists;
mod nft;
mod rules;

use clap::{Args, Subcommand};
use serde::Serialize;

use self::lists::{LIST_MAX, List, Network, Ports, User, all};
use self::rules::{Inbound, Interception, Outbound};
use super::output::{self, Exit, Failed, Format};

#[derive(Debug, Subcommand)]
pub(super) enum Intercept {
    /// Load the rules, in place of those that are there
    #[command(
        after_help = "All of it happens in the network namespace where the command runs, at once or not at all. It needs CAP_NET_ADMIN and nft.\n\n\
                            Examples:\n  outrigger intercept install --proxy-user outrigger\n  \
                            outrigger intercept install --proxy-user 1337 --exclude-inbound-ports 22,9100-9199 --exclude-outbound-networks 169.254.169.254\n  \
                            ip netns exec blue outrigger intercept install --proxy-user 1337 --dry-run"
    )]
    Install(Install),
    /// Take the rules away, if there are any
    #[command(after_help = "Example:\n  outrigger intercept remove")]
    Remove,
    /// Show the rules in force, and what each means
    #[command(
        after_help = "Exit code 1: nothing is intercepted.\n\nExamples:\n  outrigger intercept show\n  outrigger intercept show --output json"
    )]
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct Install {
    /// The user that the proxy runs as, and nobody else: a name, or a number above 0. What it opens is never intercepted
    #[arg(long, value_name = "USER", env = "OUTRIGGER_PROXY_USER")]
    proxy_user: User,

    /// The port of the proxy's --outbound
    #[arg(long, value_name = "PORT", env = "OUTRIGGER_OUTBOUND_PORT", default_value = "15001", value_parser = port())]
    outbound_port: u16,

    /// The port of the proxy's --inbound
    #[arg(long, value_name = "PORT", env = "OUTRIGGER_INBOUND_PORT", default_value = "15006", value_parser = port())]
    inbound_port: u16,

    /// Leave connections alone that are opened here
    #[arg(long, env = "OUTRIGGER_NO_OUTBOUND")]
    no_outbound: bool,

    /// Leave connections alone that come from elsewhere
    #[arg(long, env = "OUTRIGGER_NO_INBOUND", conflicts_with = "no_outbound")]
    no_inbound: bool,

    /// Leave connections to these ports of others alone: numbers, or ranges such as 9000-9100
    #[arg(long, value_name = "PORTS", env = "OUTRIGGER_EXCLUDE_OUTBOUND_PORTS")]
    exclude_outbound_ports: Vec<List<Ports>>,

    /// Leave connections to these addresses alone, such as 169.254.169.254 or 10.9.0.0/16
    #[arg(long, value_name = "NETWORKS", env = "OUTRIGGER_EXCLUDE_OUTBOUND_NETWORKS")]
    exclude_outbound_networks: Vec<List<Network>>,

    /// Of the connections that are opened here, intercept only those to these addresses
    #[arg(long, value_name = "NETWORKS", env = "OUTRIGGER_ONLY_OUTBOUND_NETWORKS")]
    only_outbound_networks: Vec<List<Network>>,

    /// Leave connections alone that these users open
    #[arg(long, value_name = "USERS", env = "OUTRIGGER_EXCLUDE_USERS")]
    exclude_users: Vec<List<User>>,

    /// Leave connections from elsewhere to these ports alone
    #[arg(long, value_name = "PORTS", env = "OUTRIGGER_EXCLUDE_INBOUND_PORTS")]
    exclude_inbound_ports: Vec<List<Ports>>,

    /// Print what would be loaded, for nft -f
    #[arg(long, env = "OUTRIGGER_DRY_RUN")]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Form
    #[arg(long, short, value_name = "FORM", env = "OUTRIGGER_OUTPUT", value_enum, default_value = "table")]
    output: Format,
}

/// What `show` finds.
#[derive(Debug, Serialize)]
struct Shown {
    installed: bool,
    rules: Vec<nft::Rule>,
}

fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

impl Intercept {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Install(install) => install.run().await,
            Self::Remove => remove().await,
            Self::Show(show) => show.run().await,
        }
    }
}

impl Install {
    async fn run(self) -> Result<Exit, Failed> {
        let dry = self.dry_run;
        let script = self.interception()?.script();
        if dry {
            output::line(script.trim_end());
            return Ok(Exit::Done);
        }
        nft::load(&script).await?;
        output::line("installed: `outrigger intercept show` says what is intercepted");
        Ok(Exit::Done)
    }

    fn interception(self) -> Result<Interception, Failed> {
        if self.proxy_user.0 == 0 {
            return Err(Failed::usage(
                "--proxy-user can't be root: whatever root runs would go around the proxy. Give the proxy a user of its own (useradd --system \
                 outrigger), and name it here",
            ));
        }
        if self.outbound_port == self.inbound_port {
            return Err(Failed::usage("--outbound-port and --inbound-port can't be the same"));
        }
        let excluded_ports = named("--exclude-outbound-ports", self.exclude_outbound_ports)?;
        let excluded = named("--exclude-outbound-networks", self.exclude_outbound_networks)?;
        let only = named("--only-outbound-networks", self.only_outbound_networks)?;
        let excluded_users = named("--exclude-users", self.exclude_users)?;
        let excluded_inbound_ports = named("--exclude-inbound-ports", self.exclude_inbound_ports)?;
        Ok(Interception {
            proxy: self.proxy_user,
            outbound: (!self.no_outbound).then_some(Outbound {
                port: self.outbound_port,
                excluded_ports,
                excluded,
                only,
                excluded_users,
            }),
            inbound: (!self.no_inbound).then_some(Inbound {
                port: self.inbound_port,
                outbound_port: self.outbound_port,
                excluded_ports: excluded_inbound_ports,
            }),
        })
    }
}

/// What a flag names, as often as it is given.
fn named<T>(flag: &str, lists: Vec<List<T>>) -> Result<Vec<T>, Failed> {
    let named = all(lists);
    if named.len() > LIST_MAX {
        let length = named.len();
        return Err(Failed::usage(format!("{flag} names {length}, at most {LIST_MAX} are allowed")));
    }
    Ok(named)
}

async fn remove() -> Result<Exit, Failed> {
    nft::load(rules::REMOVAL).await?;
    output::line("removed: nothing is intercepted");
    Ok(Exit::Done)
}

impl Show {
    async fn run(self) -> Result<Exit, Failed> {
        let rules = nft::rules().await?;
        let installed = rules.is_some();
        let rules = rules.unwrap_or_default();
        match self.output {
            Format::Json => output::json(&Shown { installed, rules })?,
            Format::Yaml => return Err(Failed::usage("--output takes table or json here")),
            Format::Table if installed => {
                let row =
                    |rule: &nft::Rule| vec![rule.chain.clone(), rule.matches.clone(), rule.meaning.clone()];
                output::table(&["CHAIN", "RULE", "MEANS"], rules.iter().map(row));
            }
            Format::Table => {
                output::line("nothing is intercepted here: `outrigger intercept install` begins")
            }
        }
        Ok(if installed { Exit::Done } else { Exit::Found })
    }
}
