//! `certs token`: what lets a sidecar in that has no certificate yet.

use std::time::Duration;

use clap::{Args, Subcommand};
use outrigger_snapshot::join_token::TokenId;
use outrigger_snapshot::name::ServiceName;
use rustls_pki_types::UnixTime;

use super::super::client::Client;
use super::super::output::{self, Exit, Failed, Format, span};
use super::super::read::ago;
use super::super::{Server, difference};
use super::date;
use crate::api::wire::{CreateToken, CreatedToken, RevokeToken, TokenSummary, Tokens};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Token {
    /// Make one, for the sidecars of one service
    #[command(
        after_help = "Prints the token alone to standard output: whoever has it can be that service until it is used, revoked or over.\n\nExample:\n  \
                            outrigger certs token create --service shop/cart > cart.token\n  \
                            outrigger-proxy --service shop/cart --ca https://cp.internal:15301 --join-token-file cart.token …"
    )]
    Create(Create),
    /// Show which there are, without what opens anything
    #[command(after_help = "Example:\n  outrigger certs token list")]
    List(List),
    /// Take one back: nobody can join with it any more
    #[command(
        after_help = "Certificates that it was used for stay valid until they end.\n\nExample:\n  outrigger certs token revoke 5f0c…"
    )]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// Whose identity it is good for: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME", env = "OUTRIGGER_SERVICE")]
    service: ServiceName,
    /// How long it is good for: 1s to 168h
    #[arg(long, value_name = "TIME", env = "OUTRIGGER_TTL", default_value = "1h", value_parser = crate::bootstrap::duration::parse)]
    ttl: Duration,
    /// Good for any number of sidecars, as for those that a scheduler starts; otherwise for one
    #[arg(long, env = "OUTRIGGER_REUSABLE")]
    reusable: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// How to print them
    #[arg(long, short, value_enum, default_value = "table", env = "OUTRIGGER_OUTPUT")]
    output: Format,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    /// Which, as `list` shows it
    #[arg(value_name = "ID")]
    id: TokenId,
    #[command(flatten)]
    server: Server,
}

impl Token {
    pub(super) async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Revoke(revoke) => revoke.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<Exit, Failed> {
        let wanted =
            CreateToken { service: self.service, lifetime_s: self.ttl.as_secs(), reusable: self.reusable };
        let made: CreatedToken = Client::new(&self.server)?.post("/v1/join-tokens", &wanted).await?;
        let how_often = if made.reusable { "any number of sidecars" } else { "one sidecar" };
        let until = date(i64::try_from(made.expires_unix).unwrap_or(i64::MAX));
        output::remark(&format!("{} for {how_often} of {} until {until}", made.id, made.service));
        output::line(&made.token);
        Ok(Exit::Done)
    }
}

impl List {
    async fn run(self) -> Result<Exit, Failed> {
        let found: Tokens = Client::new(&self.server)?.fetch("/v1/join-tokens", &[]).await?;
        match self.output {
            Format::Json => output::json(&found)?,
            Format::Yaml => {
                let value = serde_json::to_value(&found)
                    .map_err(|error| Failed::problem("can't print this", &error))?;
                output::line(difference::yaml(&value)?.trim_end());
            }
            Format::Table => {
                let now = UnixTime::now().as_secs();
                let header = ["ID", "SERVICE", "GOOD FOR", "MADE", "LEFT", "STATE"];
                output::table(&header, found.tokens.iter().map(|token| row(token, now)));
                if found.older > 0 {
                    output::remark(&format!(
                        "{} older ones are not shown: a token is forgotten a week after its end",
                        found.older
                    ));
                }
            }
        }
        Ok(Exit::Done)
    }
}

impl Revoke {
    async fn run(self) -> Result<Exit, Failed> {
        let wanted = RevokeToken { id: self.id };
        let revoked: RevokeToken = Client::new(&self.server)?.post("/v1/join-tokens/revoke", &wanted).await?;
        output::line(&format!("revoked {}", revoked.id));
        Ok(Exit::Done)
    }
}

fn row(token: &TokenSummary, now: u64) -> Vec<String> {
    let left = token.expires_unix.saturating_sub(now);
    let state = match token {
        TokenSummary { revoked: true, .. } => "revoked",
        TokenSummary { used_unix_ms: Some(_), .. } => "used",
        _ if left == 0 => "expired",
        _ => "open",
    };
    vec![
        token.id.to_string(),
        token.service.to_string(),
        if token.reusable { "any number" } else { "one" }.to_owned(),
        format!("{} ago", ago(token.created_unix_ms)),
        if left == 0 { "over".to_owned() } else { span(left * 1_000) },
        state.to_owned(),
    ]
}
