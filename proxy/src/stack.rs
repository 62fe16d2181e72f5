//! The whole way of a request, top to bottom, in the order in which it happens.
//!
//! ```text
//! listener → connection → http::server → normalize → HERE: router → deadline → filters → delay → shed → forward (cluster → endpoint → pool → wire)
//! errors climb back:  any → error.rs → local_reply.rs
//! ```

use std::rc::Rc;
use std::sync::Arc;

use http::Version;
use http::header::{CONNECTION, HeaderName, HeaderValue};
use outrigger_filters::Context;
use outrigger_filters::layer::FilterLayer;
use outrigger_snapshot::head::{RequestHead, ResponseHead};
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::router::Miss;
use tower::{ServiceBuilder, service_fn};
use tower_service::Service;

use crate::caller::Caller;
use crate::deadline::DeadlineLayer;
use crate::delay::DelayLayer;
use crate::error::{ProxyError, Side};
use crate::exchange::{Exchange, Reply};
use crate::forward::forward;
use crate::gate::Gate;
use crate::gateway::{Edge, Opening};
use crate::grpc;
use crate::http::body::Body;
use crate::http::forwarded::{Certificate, REQUEST_ID, add_forwarded, address};
use crate::http::normalize::{Normalized, strip_own_fields};
use crate::lineage::{Inheritance, Parent};
use crate::local_reply;
use crate::overload::Priority;
use crate::overload::layer::ShedLayer;
use crate::overload::priority::{ATTEMPT, PRIORITY, is_repeated};
use crate::passage::Record;
use crate::plan::{Plan, Resolution, Rule};
use crate::retry::pushback::NO_RETRY;
use crate::telemetry::metrics::Direction;
use crate::termination::Client;
use crate::worker::Worker;

use self::time::deadline;

mod time;

/// The steps below the router. Each is always ready: what must wait waits in its future.
pub fn stack(
    worker: Rc<Worker>,
) -> impl Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static {
    let sweep = worker.sweep.clone();
    ServiceBuilder::new()
        .layer(DeadlineLayer::new(sweep))
        .layer(FilterLayer)
        .layer(DelayLayer::new(worker.clone()))
        .layer(ShedLayer::new(worker.clone()))
        // Boxed: an idle connection keeps room for the future of its next request, and a stream's is moved when it is spawned.
        .service(service_fn(move |exchange| Box::pin(forward(worker.clone(), exchange))))
}

/// One request as a connection hands it over.
#[derive(Debug)]
pub struct Call {
    /// What it asks; the error is the client's.
    pub request: Result<Normalized, ProxyError>,
    /// Its body.
    pub body: Body,
    /// Which way it goes.
    pub direction: Direction,
    /// The port of the own service that it is for, where the connection says so.
    pub port: Option<u16>,
    /// The port of the mesh that the connection was going to, if it was intercepted.
    pub addressed: Option<Arc<ClusterName>>,
    /// The downstream peer.
    pub peer: HeaderValue,
    /// Who it has proved to be.
    pub caller: Option<Rc<Caller>>,
    /// What is known of a client outside the mesh that has come inside TLS.
    pub client: Option<Rc<Client>>,
    /// What is known of a stranger, where this is a gateway.
    pub edge: Option<Rc<Edge>>,
    /// The version the client speaks.
    pub version: Version,
    /// When it came, on [`crate::clock`].
    pub started_ns: u64,
}

/// Answers a request, whatever happens to it. The record ends with the last byte of the answer.
pub async fn answer<S>(
    worker: &Rc<Worker>,
    stack: &S,
    call: Call,
    mut record: Record,
) -> (Reply, Option<Record>)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone,
{
    let (version, direction) = (call.version, call.direction);
    let grpc = call.request.as_ref().is_ok_and(|request| request.grpc);
    let result = match exchange(worker, call, &mut record) {
        Ok(exchange) => stack.clone().call(exchange).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(mut reply) => {
            if direction == Direction::Inbound {
                discourage(worker, &record, &mut reply.head);
            }
            record.answered(&reply.head, grpc);
            match &mut reply.body {
                Body::Upstream(body) => {
                    record.streams();
                    if let Some(passage) = body.passage() {
                        passage.record = Some(record);
                    }
                    (reply, None)
                }
                Body::Full(bytes) => {
                    record.story().sends(bytes.len());
                    (reply, Some(record))
                }
                Body::Empty | Body::Downstream(_) | Body::Replay(_) => (reply, Some(record)),
            }
        }
        Err(error) => {
            record.failed(&error);
            let mut reply = refuse(worker, &error, grpc, version);
            let id = HeaderValue::from_str(&record.story().told().id());
            id.into_iter().for_each(|id| reply.head.set_header(REQUEST_ID, id));
            if direction == Direction::Inbound {
                discourage(worker, &record, &mut reply.head);
            }
            record.answered(&reply.head, grpc);
            if let Body::Full(bytes) = &reply.body {
                record.story().sends(bytes.len());
            }
            (reply, Some(record))
        }
    }
}

/// Asks the caller not to retry what failed in spite of retries further down.
fn discourage(worker: &Worker, record: &Record, head: &mut ResponseHead) {
    let failed = head.status().is_server_error()
        || head.header(&grpc::STATUS).is_some_and(|status| status.as_bytes() != b"0");
    if failed && record.is_spent() {
        worker.stats.discouraged.add(1);
        head.set_header(NO_RETRY, HeaderValue::from_static("1"));
    }
}

/// The local reply to an error, counted.
fn refuse(worker: &Worker, error: &ProxyError, grpc: bool, version: Version) -> Reply {
    worker.stats.local_replies.0[local_reply::row_index(error)].add(1);
    let (mut head, body) = local_reply::local_reply(error, grpc);
    // Who breaks the rules of framing once may have broken them in a way that shows only in the next request.
    if error.side() == Side::Downstream && version < Version::HTTP_2 {
        head.set_header(CONNECTION, HeaderValue::from_static("close"));
    }
    Reply { head, body: Body::Full(body), upgraded: None }
}

/// Router: head → rule → destination, once; from here on the request does not look at the plan.
fn exchange(worker: &Rc<Worker>, call: Call, record: &mut Record) -> Result<Exchange, ProxyError> {
    let Call { request, body, direction, port, addressed, peer, caller, client, edge, started_ns, .. } = call;
    let Normalized { mut head, upgrade, trailers, grpc, timed, mut marked, named, .. } = request?;
    let story = record.story().clone();
    story.is_named(&head, named, grpc, worker.traces.as_ref());
    record.method(head.method());
    if let Some(edge) = &edge {
        edge.enter(&mut head, &peer, marked, &worker.trusted)?;
    }
    let within = |(rule, prefix)| (rule, prefix, None);
    let (rule, prefix_bytes, matters) = worker
        .with_plan(|plan| {
            story.is_routed_by((plan.version.n, plan.version.revision));
            match (direction, &edge) {
                (Direction::Outbound, Some(edge)) => edge.route(&worker.stats, plan, &head, &peer),
                (Direction::Outbound, None) => outbound(plan, &head, addressed.as_deref()).map(within),
                (Direction::Inbound, _) => inbound(plan, &head, port, client.as_deref()).map(within),
            }
        })
        .ok_or(ProxyError::NoPlan)??;
    let destination = rule.draw(worker.random());
    let resolution = Resolution { rule, destination };
    record.goes_to(resolution.clone());
    worker.labels_of(&resolution).iter().for_each(|labels| story.is_labelled(labels, &head));

    let parent = match direction {
        Direction::Outbound => {
            prefer(&mut head, matters);
            worker.lineages.parent(&head).filter(|_| edge.is_none())
        }
        Direction::Inbound => {
            let (caller, client) = (caller.as_deref(), client.as_deref());
            marked = admit(worker, &resolution.rule, caller, client, &peer, marked, &mut head)?;
            None
        }
    };
    let certificate = certificate(direction, edge.as_deref(), caller.as_deref(), client.as_deref());
    let deadline_ns = deadline(&mut head, timed, parent, &resolution, started_ns)?;
    story.ends_by(deadline_ns);
    let stranger = client.is_some() || edge.is_some() && !worker.trusted.contains(&peer);
    worker.traces.iter().for_each(|traces| traces.decide(&story, &mut head, stranger, worker.random()));
    add_forwarded(&mut head, &peer, certificate, story.made());
    match direction {
        Direction::Inbound => record.remember(&head, bequeath(&head, marked, deadline_ns)),
        Direction::Outbound => inherit(&mut head, parent),
    }
    let mut context = Context { prefix_bytes, ..Context::default() };
    if resolution.has_filters() {
        context.source = Some(peer.clone());
        context.tls = client.is_some() || edge.as_ref().is_some_and(|edge| edge.opening() == Opening::Tls);
        context.identity = caller.as_ref().map(|caller| caller.identity.clone());
        (context.now_ns, context.random) = (started_ns, worker.random());
    }
    let told_ns = started_ns;
    Ok(Exchange {
        head,
        body,
        resolution,
        context,
        upgrade,
        trailers,
        grpc,
        deadline_ns,
        told_ns,
        story,
        peer,
        to_stranger: stranger,
        parent,
    })
}

/// What is said of the certificate that the client has shown.
fn certificate<'a>(
    direction: Direction,
    edge: Option<&'a Edge>,
    caller: Option<&'a Caller>,
    client: Option<&'a Client>,
) -> Certificate<'a> {
    match (direction, edge) {
        (Direction::Inbound, _) => {
            let shown = || client?.certificate.as_ref();
            Certificate::Set(caller.map(|caller| &caller.certificate).or_else(shown))
        }
        (Direction::Outbound, Some(edge)) => Certificate::Set(edge.certificate()),
        (Direction::Outbound, None) => Certificate::Keep,
    }
}

/// Whether a call to the workload may be made at all, and as what; whether anything in it is said of ours from now on, as it was `marked`.
fn admit(
    worker: &Worker,
    rule: &Rule,
    caller: Option<&Caller>,
    client: Option<&Client>,
    peer: &HeaderValue,
    marked: bool,
    head: &mut RequestHead,
) -> Result<bool, ProxyError> {
    let is_probe = || rule.health.is_by(head);
    let ask =
        |gate: &Gate| gate.request(&worker.stats, caller, client.is_some(), is_probe, head, || address(peer));
    let matters = rule.gate.as_deref().map_or(Ok(None), ask)?;
    let trusted = &rule.trusted;
    // Sidecars of the mesh took away what strangers wrote.
    if marked && caller.is_none() && !trusted.contains(peer) {
        strip_own_fields(head);
    }
    if let Some(client) = client {
        client.enter(head, trusted.contains(peer));
    }
    Ok(prefer(head, matters) || marked)
}

/// Says how much a request matters, where that is for this side to say; whether it is.
fn prefer(head: &mut RequestHead, matters: Option<u8>) -> bool {
    if let Some(priority) = matters {
        head.set_header(PRIORITY, HeaderValue::from(u16::from(priority)));
    }
    matters.is_some()
}

/// What a call to the workload hands down to those that the workload makes for it.
fn bequeath(head: &RequestHead, marked: bool, deadline_ns: u64) -> Inheritance {
    let said = |name: HeaderName| if marked { head.header(&name) } else { None };
    let priority = Priority::read(said(PRIORITY), None);
    Inheritance { deadline_ns, priority, retried: said(ATTEMPT).is_some_and(is_repeated) }
}

/// Where the workload does not say how much its call matters, it matters as much as what it is made for.
fn inherit(head: &mut RequestHead, parent: Option<Parent>) {
    let inherited = parent.map(|parent| parent.inheritance.priority);
    if let Some(priority) = inherited.filter(|priority| *priority != Priority::DEFAULT)
        && head.header(&PRIORITY).is_none()
    {
        head.set_header(PRIORITY, priority.to_value());
    }
}

/// By host; where nobody is called by it, to the port that the connection was going to.
fn outbound(
    plan: &Plan,
    head: &RequestHead,
    addressed: Option<&ClusterName>,
) -> Result<(Arc<Rule>, Option<usize>), ProxyError> {
    let found = match (plan.outbound.find(head), addressed) {
        (Err(Miss::Host | Miss::Port), Some(port)) => plan.outbound.find_at(&port.service, port.port, head),
        (found, _) => found,
    };
    match found {
        Ok(found) => Ok((found.rule.clone(), found.prefix.map(str::len))),
        Err(Miss::Host) => Err(ProxyError::NoHost),
        Err(Miss::Port) => Err(ProxyError::NoPort),
        Err(Miss::Rule) => Err(ProxyError::NoRule),
    }
}

/// Calls to the workload keep the host that the caller used, which may be that of another service whose route led here: the port of that
/// one says nothing here. A client outside the mesh is kept to the port on whose terms it was let in.
fn inbound(
    plan: &Plan,
    head: &RequestHead,
    port: Option<u16>,
    client: Option<&Client>,
) -> Result<(Arc<Rule>, Option<usize>), ProxyError> {
    let authority = head.authority();
    let own = || plan.outbound.service(authority.host()) == Some(&plan.service);
    let said = || authority.port().filter(|_| plan.inbound.len() > 1 && own());
    let port = client.map(|client| client.port).or(port).or_else(said);
    if port.is_some_and(|port| plan.inbound_port(port).is_some()) {
        return Err(ProxyError::NoPort);
    }
    let named = port.and_then(|port| plan.inbound.iter().find(|(number, _)| *number == port));
    let first = plan.inbound.first().filter(|_| client.is_none());
    let (_, rule) = named.or(first).ok_or(ProxyError::NoPort)?;
    Ok((rule.clone(), None))
}
