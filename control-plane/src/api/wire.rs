//! Bodies of the API, as both its server and `outrigger` use them. What a newer server adds, an older `outrigger` ignores;
//! what a newer `outrigger` asks for, an older server refuses.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use outrigger_snapshot::join_token::TokenId;
use outrigger_snapshot::name::ServiceName;

use crate::config::{Problem, Problems};
use crate::reports::{Certificate, Coverage, Proxy};

/// A change that someone wants made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// What to do with the resources in `sources`.
    pub verb: Verb,
    /// Texts in YAML or JSON.
    pub sources: Vec<SourceText>,
    /// The revision that this change was made against: if it is no longer the newest, nothing is changed (409). Without it
    /// the change is made on top of whatever is newest.
    #[serde(default)]
    pub base: Option<u64>,
    /// Who.
    #[serde(default)]
    pub author: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Whether it may empty a scope, or remove over 30 % of its routes or endpoints.
    #[serde(default)]
    pub allow_shrink: bool,
}

/// What a push does with its resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Adds them, or replaces those of the same kind, namespace and name.
    Apply,
    /// Removes those of the same kind, namespace and name.
    Delete,
    /// They are all that there is: what isn't among them is removed.
    Replace,
}

/// A file that someone wrote.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceText {
    /// Its name, for messages only.
    pub name: String,
    /// Documents in YAML or JSON.
    pub text: String,
}

/// A change that is wanted back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The revision whose content to have again; without it the one before the newest.
    #[serde(default)]
    pub to: Option<u64>,
    /// As in a push.
    #[serde(default)]
    pub base: Option<u64>,
    /// Who.
    #[serde(default)]
    pub author: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// As in a push.
    #[serde(default)]
    pub allow_shrink: bool,
}

/// A change that was made, or found to be none.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Pushed {
    /// The newest revision: a new one, or the old one if nothing was to change.
    pub revision: u64,
    /// Its epoch.
    pub epoch: u64,
    /// What has changed; empty if nothing was to.
    pub changes: Vec<Change>,
    /// What people should know: that a mesh was made, for instance.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a push would change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The newest revision, which the push is compared with; 0 if there is none.
    pub revision: u64,
    /// What would change.
    pub changes: Vec<Change>,
    /// What would need `allow_shrink`, a sentence each.
    pub shrinks: Vec<String>,
}

/// One resource that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The resource before; absent if it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The resource after; absent if it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Resources of one revision.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Resources {
    /// The revision; 0 if nothing was pushed yet.
    pub revision: u64,
    /// Its epoch; 0 if nothing was pushed yet.
    #[serde(default)]
    pub epoch: u64,
    /// Sorted by kind, namespace and name.
    pub resources: Vec<Value>,
}

/// A revision without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevisionSummary {
    /// Its epoch.
    pub epoch: u64,
    /// Its number.
    pub revision: u64,
    /// Who pushed it.
    pub author: String,
    /// Why.
    pub message: String,
    /// When, milliseconds since 1970.
    pub time_unix_ms: u64,
    /// How many resources it has.
    pub resources: usize,
    /// Whether it was allowed to shrink scopes.
    pub allow_shrink: bool,
}

/// The newest revisions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// Newest first.
    pub revisions: Vec<RevisionSummary>,
}

/// A release without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseSummary {
    /// Its epoch.
    pub epoch: u64,
    /// Its number.
    pub release: u64,
    /// The revision that it was compiled from.
    pub revision: u64,
    /// The version of the compiler.
    pub compiler: u32,
    /// When, milliseconds since 1970.
    pub time_unix_ms: u64,
    /// Whether its revision was found bad and older content is held in its place.
    pub rejected: bool,
}

/// How the mesh is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The version of the control plane that answers.
    pub version: String,
    /// The store.
    pub store: String,
    /// The mesh's id; absent while there is none.
    pub mesh: Option<String>,
    /// The public key that releases are signed with, for `--trust-key`.
    pub trust_key: Option<String>,
    /// Whether the newest revision is published and the loop succeeds.
    pub ready: bool,
    /// What is in the way, a sentence; absent if nothing is.
    pub trouble: Option<String>,
    /// The newest revision.
    pub revision: Option<RevisionSummary>,
    /// The newest release.
    pub release: Option<ReleaseSummary>,
    /// How long ago this replica last wrote the heartbeat, in milliseconds.
    pub heartbeat_age_ms: Option<u64>,
    /// What the proxies run, in sum, as far as they report to this replica.
    pub coverage: Coverage,
    /// Each proxy that reported to this replica in the last day.
    pub proxies: Vec<Proxy>,
    /// The authority that makes certificates for sidecars; absent if this replica is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityStatus>,
}

/// An authority that makes certificates (`--ca`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthorityStatus {
    /// The control plane's own certificate, the authority's and those above it, and the roots.
    pub certificates: Vec<Certificate>,
    /// Why it can make none now, a sentence; absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A join token that someone wants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Whose identity it is good for, `namespace/name`.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// How long it is good for, in seconds: at most a week.
    pub lifetime_s: u64,
    /// Whether it is good for any number of sidecars.
    #[serde(default)]
    pub reusable: bool,
}

/// A join token. Whoever has it can be that service.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// Its name, which opens nothing.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Whose identity it is good for.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Until when, in seconds since 1970.
    pub expires_unix: u64,
    /// Whether it is good for any number of sidecars.
    pub reusable: bool,
    /// The token itself.
    pub token: String,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CreatedToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is known of a join token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenSummary {
    /// Its name, which opens nothing.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Whose identity it is good for.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Until when it is good, in seconds since 1970.
    pub expires_unix: u64,
    /// Whether it is good for any number of sidecars.
    pub reusable: bool,
    /// When it was used, if it is good for one; in milliseconds since 1970.
    #[serde(default)]
    pub used_unix_ms: Option<u64>,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// The join tokens that are not forgotten yet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    /// The youngest first, at most 1,000.
    pub tokens: Vec<TokenSummary>,
    /// How many older ones there are beside these.
    #[serde(default)]
    pub older: u64,
}

/// A join token that is to be taken back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// Its name.
    #[schema(value_type = String)]
    pub id: TokenId,
}

/// A report was kept.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct Noted {
    /// How soon the proxy should report again, in milliseconds.
    pub again_in_ms: u64,
}

/// Why a request failed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// For programs.
    pub code: String,
    /// For people: what, and what to do.
    pub message: String,
    /// Everything that is wrong with a push.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<ProblemBody>)]
    pub problems: Vec<Problem>,
    /// The newest revision, where the one that was named is stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
}

/// One mistake in a push.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "it describes `config::Problem` in the OpenAPI document")]
pub struct ProblemBody {
    /// The file, or the stored resource.
    file: String,
    /// The line, from 1; 0 if there is no text.
    line: u32,
    /// The column, from 1; 0 if there is no text.
    column: u32,
    /// The path of the field.
    field: String,
    /// What is wrong.
    message: String,
    /// What would be accepted.
    expected: Option<String>,
    /// The valid name nearest to the one that was written.
    nearest: Option<String>,
}

impl Failure {
    /// A failure without problems.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), problems: Vec::new(), newest: None }
    }

    /// The failure of a push that has `problems`.
    pub fn refused(problems: &Problems) -> Self {
        let count = problems.len();
        let many = if count == 1 { "problem" } else { "problems" };
        let message = format!("the push has {count} {many}; nothing of it was applied");
        Self { problems: problems.iter().cloned().collect(), ..Self::new("refused", message) }
    }
}
