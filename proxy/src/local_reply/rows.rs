//! Every reason for which a request is not simply answered. `docs/ERRORS.md` is made of these tables, and `outrigger why` says what they say.

/// gRPC status codes used here (grpc.io, "Status codes and their use in gRPC").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcStatus {
    /// The deadline passed.
    DeadlineExceeded = 4,
    /// The caller may not.
    PermissionDenied = 7,
    /// A limit is used up.
    ResourceExhausted = 8,
    /// No such method here.
    Unimplemented = 12,
    /// Broken.
    Internal = 13,
    /// Try again elsewhere or later.
    Unavailable = 14,
    /// The caller has not said who it is.
    Unauthenticated = 16,
}

/// Whose fault something is, as far as a reason tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client's.
    Client,
    /// Of what the operators have written.
    Configuration,
    /// Of this proxy, or of its limits.
    Proxy,
    /// The upstream's, or of the way there.
    Upstream,
}

impl Fault {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Configuration => "configuration",
            Self::Proxy => "this proxy",
            Self::Upstream => "upstream",
        }
    }

    /// As labels spell it.
    pub fn as_label(self) -> &'static str {
        if self == Self::Proxy { "proxy" } else { self.as_str() }
    }
}

/// What one cause means to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The code in `outrigger-reason` and in metrics.
    pub reason: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status.
    pub grpc: GrpcStatus,
    /// Whose fault it is.
    pub fault: Fault,
    /// What it means, and what to do.
    pub meaning: &'static str,
}

/// How an exchange ends that was answered by someone else, and is not well for all that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mishap {
    /// The code.
    pub reason: &'static str,
    /// Whose fault it is.
    pub fault: Fault,
    /// What it means, and what to do.
    pub meaning: &'static str,
}

/// Every [`Mishap`], in the order of `docs/ERRORS.md`.
pub const MISHAPS: [Mishap; 5] =
    [UPSTREAM_STATUS, UPSTREAM_GRPC_STATUS, RESPONSE_BROKEN, RESPONSE_STALLED, RESPONSE_OVERDUE];

/// The upstream says so itself.
pub const UPSTREAM_STATUS: Mishap = Mishap {
    reason: "upstream_status",
    fault: Fault::Upstream,
    meaning: "The upstream answered with a status of 500 or more, and the proxy passed that on after as many tries as it may make. If its answer says `outrigger-reason`, the sidecar there made it: ask that one. Else the application did.",
};

/// The same of a gRPC call.
pub const UPSTREAM_GRPC_STATUS: Mishap = Mishap {
    reason: "upstream_grpc_status",
    fault: Fault::Upstream,
    meaning: "The call ended with a gRPC status that says that the server failed: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS. The application, or a sidecar on the way, says why in `grpc-message`.",
};

/// The rest of an answer is missing.
pub const RESPONSE_BROKEN: Mishap = Mishap {
    reason: "response_broken",
    fault: Fault::Upstream,
    meaning: "The upstream broke off in the middle of its answer, which cannot be taken back: the client saw its connection or stream cut. Did the application crash, or was it stopped without a drain?",
};

/// Nothing moved any more.
pub const RESPONSE_STALLED: Mishap = Mishap {
    reason: "response_stalled",
    fault: Fault::Upstream,
    meaning: "No more of the answer moved for `timeouts.bodyStall`: the upstream sent nothing, or the client took nothing.",
};

/// The time was over before the answer was.
pub const RESPONSE_OVERDUE: Mishap = Mishap {
    reason: "response_overdue",
    fault: Fault::Upstream,
    meaning: "The answer had begun and was not complete when the time of the request, or of the try, was over. A stream that is meant to last needs `timeouts.request: 0s`.",
};

macro_rules! rows {
    ($($name:ident = $reason:literal, $status:literal, $grpc:ident, $fault:ident, $meaning:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Cause { $($name),* }

        /// Every row, in the order of `docs/ERRORS.md`.
        pub const ROWS: &[Row] = &[$(Row {
            reason: $reason,
            status: $status,
            grpc: GrpcStatus::$grpc,
            fault: Fault::$fault,
            meaning: $meaning,
        }),*];
    };
}

rows! {
    Malformed = "malformed_request", 400, Internal, Client,
        "Framing, host or target that different programs would read differently. The connection is closed. The body says which rule was broken.";
    RequestBody = "request_body_timeout", 408, Internal, Client,
        "The client sent nothing more of the request body for `timeouts.bodyStall`.";
    Connect = "connect_unsupported", 501, Unimplemented, Client,
        "`CONNECT` asks for a tunnel, which this proxy does not open.";
    TlsRequired = "tls_required", 400, Unauthenticated, Client,
        "The port takes HTTPS, and the request came in the clear: at a gateway, or on inbound, where `InboundPolicy.tls` refuses clear text. A sidecar that calls in the clear needs an identity, or `cleartext: Allowed`.";
    NoHost = "no_host", 404, Unimplemented, Configuration,
        "No Service is called by this host; at a gateway, no listener of the port, or no route of that listener, is for it. `outrigger explain METHOD URL` shows what would be; check the host, and the namespace of a short name.";
    NoPort = "no_port", 404, Unimplemented, Configuration,
        "The Service has no HTTP port of this number; on inbound, the sidecar's own Service has none at all.";
    NoRule = "no_rule", 404, Unimplemented, Configuration,
        "Routes are attached to the Service and none of their rules matches.";
    IdentityRequired = "identity_required", 403, Unauthenticated, Client,
        "On inbound: the service is `mtls: Strict`, and the caller speaks in clear text. Give its sidecar an identity; `outrigger_plaintext_requests_total` and `outrigger_plaintext_connections_total` count such calls while the service is `Permissive`.";
    Denied = "access_denied", 403, PermissionDenied, Client,
        "On inbound, or at a gateway: an access rule denies the request, or none allows it. The body names the rule.";
    RateLimited = "rate_limited", 429, ResourceExhausted, Client,
        "A rate limit of the rule, or of the port on inbound, is used up. `RateLimit-Policy` and `RateLimit` name it, `Retry-After` says when the same request would pass.";
    NoBackend = "no_backend", 500, Unavailable, Configuration,
        "The rule that matched has no backend with a weight above 0.";
    Fault = "fault_injected", 503, Unavailable, Configuration,
        "A fault filter of the rule says so, and with which status.";
    NoPlan = "no_plan", 503, Unavailable, Proxy,
        "No snapshot has been applied yet. `/ready` says why.";
    LimitRequests = "limit_requests", 503, Unavailable, Proxy,
        "`limits.requests` of the cluster are in flight, or `limits.endpointRequests` to each endpoint that could serve.";
    LimitPending = "limit_pending", 503, Unavailable, Proxy,
        "`limits.pending` requests wait for a connection to the cluster; or this one found no place among `limits.connections` within `timeouts.connect`, while all of them carried requests. `outrigger_limit_refused_total{kind}` tells the two apart. No endpoint was asked.";
    Shed = "overloaded", 503, Unavailable, Upstream,
        "On inbound: the application has as many requests as it can work on; how many that is, the proxy measures. `outrigger-shed: 1` is set, and `Retry-After` says when to come back. The body says which limit, its value, and why this request: `full` (so many wait already), `waited` (no place came free in time), `displaced` (a more important one came), `expired` (its deadline leaves less time than an answer usually takes).";
    NoEndpoint = "no_endpoint", 503, Unavailable, Upstream,
        "The cluster has no endpoint: none is listed, or DNS has never answered. `/clusters` shows its names.";
    BreakerOpen = "breaker_open", 503, Unavailable, Upstream,
        "Nearly every request to the cluster failed, at nearly every endpoint, so it is left alone for a moment; a few requests find out whether it is back. `/clusters` shows its endpoints.";
    ConnectFailed = "connect_failed", 503, Unavailable, Upstream,
        "The endpoint refused the connection, or cannot be reached.";
    UpstreamNotTls = "upstream_not_tls", 503, Unavailable, Upstream,
        "The endpoint answered the handshake with something else. Is there a sidecar with an identity? If the service has none, set `mtls: Disabled` for it; if a `BackendTLSPolicy` has it called by TLS, it does not speak it. The proxy never falls back to clear text.";
    UpstreamTlsRefused = "upstream_tls_refused", 503, Unavailable, Upstream,
        "The endpoint does not accept this proxy's certificate; the body has its alert, such as `CertificateExpired` or `UnknownCA`. Look at the certificate of this proxy, and at the trust bundle there.";
    UpstreamTlsFailed = "upstream_tls_failed", 503, Unavailable, Upstream,
        "The handshake broke off, took too long, or had nothing in common.";
    NoIdentity = "no_valid_identity", 503, Unavailable, Proxy,
        "It was given an identity (`--identity-cert`), and has no certificate that holds now, or no trust bundle; or `BackendPolicy.tls` names a certificate that is not in `--certificates`, or cannot be used. Its log says why. It does not fall back to clear text.";
    PeerExpired = "upstream_certificate_expired", 503, Unavailable, Upstream,
        "The certificate of the endpoint, or one above it, has expired: why is it not renewed?";
    PeerNotYetValid = "upstream_certificate_not_yet_valid", 503, Unavailable, Upstream,
        "It is not valid yet: compare the clocks.";
    PeerWrongName = "upstream_certificate_wrong_name", 503, Unavailable, Upstream,
        "It is for another service than the one that was called: is the address that of another workload?";
    PeerWrongTrustDomain = "upstream_certificate_wrong_trust_domain", 503, Unavailable, Upstream,
        "Its SPIFFE ID is of another trust domain.";
    PeerWrongKeyUsage = "upstream_certificate_wrong_key_usage", 503, Unavailable, Upstream,
        "It may not be used for this: a leaf needs the key usage `digitalSignature`, and `clientAuth` and `serverAuth` where it limits its purposes, and must be no authority.";
    PeerSelfSigned = "upstream_certificate_self_signed", 503, Unavailable, Upstream,
        "It vouches for itself, and is not in the trust bundle.";
    PeerUnknownIssuer = "upstream_certificate_unknown_issuer", 503, Unavailable, Upstream,
        "It leads to no authority of the trust bundle (`Mesh.spec.trustBundle`): is an intermediate missing, or the bundle old?";
    PeerRevoked = "upstream_certificate_revoked", 503, Unavailable, Upstream,
        "It, or one above it, was taken back (`Mesh.spec.revocations`).";
    PeerWeakSignature = "upstream_certificate_weak_signature", 503, Unavailable, Upstream,
        "It is signed with an algorithm that is not accepted, such as SHA-1.";
    PeerBadSignature = "upstream_certificate_bad_signature", 503, Unavailable, Upstream,
        "Its signature is wrong: somebody has changed it, or it is of another authority with the same name as one in the trust bundle.";
    PeerChainTooDeep = "upstream_certificate_chain_too_deep", 503, Unavailable, Upstream,
        "More than six certificates, or more than an authority allows below it.";
    PeerNameConstraint = "upstream_certificate_name_constraint", 503, Unavailable, Upstream,
        "Its authority may not vouch for such a name.";
    PeerMalformed = "upstream_certificate_malformed", 503, Unavailable, Upstream,
        "It cannot be read.";
    PeerNoIdentity = "upstream_certificate_no_identity", 503, Unavailable, Upstream,
        "It has no SPIFFE ID, or more than one URI.";
    Refused = "upstream_refused", 503, Unavailable, Upstream,
        "The endpoint refused the HTTP/2 stream before it did anything.";
    Reset = "upstream_reset", 502, Unavailable, Upstream,
        "The endpoint closed the connection before its response head. It may have acted on the request.";
    MalformedResponse = "upstream_malformed", 502, Internal, Upstream,
        "The response is not HTTP, or its head is too large.";
    UnexpectedUpgrade = "upstream_upgrade", 502, Internal, Upstream,
        "A 101 that was not asked for, or to another protocol.";
    ConnectTimeout = "connect_timeout", 504, Unavailable, Upstream,
        "No connection within `timeouts.connect`.";
    UpstreamBody = "upstream_body_timeout", 504, DeadlineExceeded, Upstream,
        "The upstream took nothing more of the request body for `timeouts.bodyStall`.";
    FirstByte = "first_byte_timeout", 504, DeadlineExceeded, Upstream,
        "No response head within `timeouts.firstByte` of the end of the request.";
    Try = "try_timeout", 504, DeadlineExceeded, Upstream,
        "The try took longer than `timeouts.backendRequest` (or the cluster's `try`).";
    Request = "request_timeout", 504, DeadlineExceeded, Upstream,
        "The request took longer than `timeouts.request` (or the cluster's), or than its caller's deadline.";
    Deadline = "deadline_exceeded", 504, DeadlineExceeded, Upstream,
        "The caller's deadline (`outrigger-deadline-ms`, `grpc-timeout`) had passed before the request was sent.";
    ClientGone = "client_gone", 499, Unavailable, Client,
        "The client left before it had an answer, or all of one that said what was wrong (400 or above). It may have waited too long: `outrigger why` says for how long. To leave a stream that had begun well is no failure.";
}

/// Rows and mishaps.
pub const REASONS: usize = ROWS.len() + MISHAPS.len();

/// Each reason and whose fault it is, in the order of their numbers.
pub fn reasons() -> impl Iterator<Item = (&'static str, Fault)> {
    let mishaps = MISHAPS.iter().map(|mishap| (mishap.reason, mishap.fault));
    ROWS.iter().map(|row| (row.reason, row.fault)).chain(mishaps)
}

/// Whether the reason of this number is held against where the request went. What the caller got wrong is not, and neither is what meets no
/// route; who left without an answer may have waited too long.
pub fn is_held_against(number: usize) -> bool {
    let held = |row: &Row| row.fault != Fault::Client && row.status >= 500 || row.reason == "client_gone";
    ROWS.get(number).is_none_or(held)
}

/// The number of a reason among [`REASONS`], whose fault it is, and what it means; `None`: there is no such reason.
pub fn look_up(reason: &str) -> Option<(usize, Fault, &'static str)> {
    let rows = ROWS.iter().map(|row| (row.reason, row.fault, row.meaning));
    let mishaps = MISHAPS.iter().map(|mishap| (mishap.reason, mishap.fault, mishap.meaning));
    let found = rows.chain(mishaps).enumerate().find(|(_, (code, ..))| *code == reason);
    found.map(|(index, (_, fault, meaning))| (index, fault, meaning))
}
