//! One name, asked once.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolverConfig as ClientConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{TokioResolver, system_conf};

use super::answer::{self, ENDPOINTS_MAX, Memory, Service};
use super::metrics::Metrics;
use super::state::{Answer, Failure, Nothing};
use super::{Query, ResolveError, ResolvedEndpoint};

/// How long a server has for one question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a question is repeated that was not answered.
const QUESTION_REPEATS: usize = 1;

/// How long a name may take, with all its questions.
const NAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Targets of one SRV name that are asked for at the same time.
const TARGETS_AT_ONCE: usize = 8;

/// Questions on their way to one server, beyond which the client reports itself busy: more than all names together have.
const QUESTIONS_MAX: usize = 2 * TARGETS_AT_ONCE * super::driver::NAMES_AT_ONCE;

/// Asks DNS servers.
#[derive(Clone)]
pub(super) struct Client {
    resolver: TokioResolver,
    metrics: Arc<Metrics>,
}

impl Client {
    /// A client of `nameservers`, or of the system's where there are none.
    pub(super) fn new(nameservers: &[SocketAddr], metrics: Arc<Metrics>) -> Result<Self, ResolveError> {
        let config = if nameservers.is_empty() { system_config() } else { config_of(nameservers) };
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options();
        Ok(Self { resolver: builder.build()?, metrics })
    }

    /// The endpoints that `query` leads to. `memory` holds the addresses of the hosts involved from the last time; what is returned
    /// holds those of this time.
    pub(super) async fn resolve(self, query: Query, memory: Memory) -> (Answer, Memory) {
        let resolved = match &query {
            Query::Addresses { name, port } => {
                tokio::time::timeout(NAME_TIMEOUT, self.addresses_at(name, *port, &memory)).await
            }
            Query::Srv { name } => tokio::time::timeout(NAME_TIMEOUT, self.targets_of(name, &memory)).await,
        };
        let (mut answer, memory) = resolved.unwrap_or((Answer::Failed(Failure::Timeout), memory));
        if let Answer::Found { records, .. } = &mut answer {
            self.cut(records);
        }
        (answer, memory)
    }

    async fn addresses_at(&self, name: &str, port: u16, memory: &Memory) -> (Answer, Memory) {
        let mut host = memory.get(name).cloned().unwrap_or_default();
        let (v4, v6) = self.addresses(name).await;
        let answer = match host.merge(v4, v6) {
            Answer::Found { records, ttl } => {
                Answer::Found { records: answer::at_port(answer::dialable(records, has_ipv6()), port), ttl }
            }
            Answer::Nothing { reason, ttl } => Answer::Nothing { reason, ttl },
            Answer::Failed(failure) => Answer::Failed(failure),
        };
        (answer, Memory::from([(name.to_owned(), host)]))
    }

    async fn targets_of(&self, name: &str, memory: &Memory) -> (Answer, Memory) {
        let (services, ttl) = match self.ask(name, RecordType::SRV, service_of).await {
            Answer::Found { records, ttl } => (answer::preferred(records), ttl),
            Answer::Nothing { reason, ttl } => return (Answer::Nothing { reason, ttl }, Memory::new()),
            Answer::Failed(failure) => return (Answer::Failed(failure), memory.clone()),
        };
        let has_ipv6 = has_ipv6();
        let asked = stream::iter(services).map(|service| async move {
            let answers = self.addresses(&service.target).await;
            (service, answers)
        });
        let asked: Vec<_> = asked.buffered(TARGETS_AT_ONCE).collect().await;
        let mut memory_now = Memory::new();
        let targets = asked.into_iter().map(|(service, (v4, v6))| {
            let mut host = memory.get(&service.target).cloned().unwrap_or_default();
            let merged = match host.merge(v4, v6) {
                Answer::Found { records, ttl } => {
                    Answer::Found { records: answer::dialable(records, has_ipv6), ttl }
                }
                other => other,
            };
            let last = answer::dialable(host.addresses(), has_ipv6);
            memory_now.insert(service.target.clone(), host);
            (service, merged, last)
        });
        (answer::join(targets.collect(), ttl), memory_now)
    }

    async fn addresses(&self, name: &str) -> (Answer<IpAddr>, Answer<IpAddr>) {
        let v4 = self.ask(name, RecordType::A, |data| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            _ => None,
        });
        let v6 = self.ask(name, RecordType::AAAA, |data| match data {
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        tokio::join!(v4, v6)
    }

    async fn ask<T>(&self, name: &str, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Answer<T> {
        // The trailing dot keeps the search list out.
        let name = format!("{}.", name.trim_end_matches('.'));
        let answer = match self.resolver.lookup(name.as_str(), kind).await {
            Ok(lookup) => answer_of(&lookup, read),
            Err(error) => {
                tracing::debug!(name, %kind, %error, "no answer from DNS");
                answer_of_error(&error)
            }
        };
        self.metrics.count(&answer);
        answer
    }

    fn cut(&self, endpoints: &mut Vec<ResolvedEndpoint>) {
        if endpoints.len() > ENDPOINTS_MAX {
            self.metrics.count_truncated();
            endpoints.truncate(ENDPOINTS_MAX);
        }
    }
}

fn config_of(nameservers: &[SocketAddr]) -> ClientConfig {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.to_vec())
    };
    ClientConfig::from_parts(None, vec![], nameservers.iter().map(server).collect())
}

/// The servers of `/etc/resolv.conf`; where it cannot be read, as in an empty container, the local one, as libc does.
fn system_config() -> ClientConfig {
    match system_conf::read_system_conf() {
        Ok((config, _)) => config,
        Err(error) => {
            tracing::warn!(%error, "cannot read /etc/resolv.conf; asking a DNS server on this machine");
            config_of(&[SocketAddr::from(([127, 0, 0, 1], 53))])
        }
    }
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    // What an answer is worth after its TTL is decided elsewhere; a cache in between would only hide the server.
    options.cache_size = 0;
    options.timeout = QUESTION_TIMEOUT;
    options.attempts = QUESTION_REPEATS;
    options.max_active_requests = QUESTIONS_MAX;
    options
}

/// Whether there is a route to IPv6 addresses. Connecting a UDP socket sends nothing.
fn has_ipv6() -> bool {
    /// Documentation prefix (RFC 3849): only a default route leads there.
    const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let connected =
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect((ELSEWHERE, 53)));
    connected.is_ok()
}

fn service_of(data: &RData) -> Option<Service> {
    match data {
        RData::SRV(record) => Some(Service {
            priority: record.priority,
            weight: record.weight,
            port: record.port,
            target: record.target.to_lowercase().to_string(),
        }),
        _ => None,
    }
}

fn answer_of<T>(lookup: &Lookup, read: impl Fn(&RData) -> Option<T>) -> Answer<T> {
    let records: Vec<T> = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
    if records.is_empty() {
        return Answer::Nothing { reason: Nothing::Empty, ttl: None };
    }
    // Aliases on the way have TTLs too, and the answer is good only as long as all of them.
    let ttl_secs = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    Answer::Found { records, ttl: Duration::from_secs(u64::from(ttl_secs)) }
}

fn answer_of_error<T>(error: &NetError) -> Answer<T> {
    match error {
        NetError::Timeout => Answer::Failed(Failure::Timeout),
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Answer::Nothing {
                reason: Nothing::NoSuchName,
                ttl: none.negative_ttl.map(|secs| Duration::from_secs(u64::from(secs))),
            },
            // A referral instead of an answer: this server does not resolve for us, which says nothing about the name.
            _ if none.ns.is_some() && none.soa.is_none() => Answer::Failed(Failure::Refused),
            _ => Answer::Nothing {
                reason: Nothing::Empty,
                ttl: none.negative_ttl.map(|secs| Duration::from_secs(u64::from(secs))),
            },
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => {
            Answer::Failed(Failure::ServerFailure)
        }
        NetError::Dns(_) => Answer::Failed(Failure::Refused),
        _ => Answer::Failed(Failure::Transport),
    }
}
