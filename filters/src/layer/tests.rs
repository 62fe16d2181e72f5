use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};
use http::{Method, StatusCode};
use outrigger_snapshot::policy;
use tower_test::{assert_request_eq, mock};

use super::*;

#[derive(Debug)]
struct Request {
    head: RequestHead,
    context: Context,
    chains: Vec<Arc<FilterChain>>,
}

impl PartialEq<&str> for Request {
    fn eq(&self, path: &&str) -> bool {
        self.head.path() == *path
    }
}

#[derive(Debug)]
struct Response(ResponseHead);

struct Chains(Vec<Arc<FilterChain>>);

impl Filters for Chains {
    fn chains(&self) -> impl DoubleEndedIterator<Item = &FilterChain> {
        self.0.iter().map(|chain| &**chain)
    }
}

impl FilteredRequest for Request {
    type Filters = Chains;

    fn filters(&self) -> Option<Chains> {
        (!self.chains.is_empty()).then(|| Chains(self.chains.clone()))
    }

    fn head_and_context(&mut self) -> (&mut RequestHead, &mut Context) {
        (&mut self.head, &mut self.context)
    }
}

impl FilteredResponse for Response {
    fn from_answer(answer: Answer) -> Self {
        Self(ResponseHead::new(answer.status, HeaderMap::new()))
    }

    fn head(&mut self) -> &mut ResponseHead {
        &mut self.0
    }
}

fn request(chains: &[&[policy::Filter]]) -> Request {
    let head =
        RequestHead::new(Method::GET, "cart".parse().unwrap(), "/a".parse().unwrap(), HeaderMap::new());
    let chains = chains.iter().map(|filters| Arc::new(FilterChain::build(filters).unwrap())).collect();
    Request { head, context: Context::default(), chains }
}

fn rewrite(path: &str) -> policy::Filter {
    policy::Filter::Rewrite(policy::Rewrite { host: None, path: Some(policy::PathEdit::Full(path.into())) })
}

fn response_header(value: &str) -> policy::Filter {
    let set = vec![("x-by".to_owned(), value.to_owned())];
    policy::Filter::ResponseHeaders(policy::HeaderEdit { set, ..Default::default() })
}

#[tokio::test(start_paused = true)]
async fn filters_run_inwards_on_requests_and_outwards_on_responses() {
    let (mut service, mut handle) = mock::spawn_layer::<Request, Response, _>(FilterLayer);
    assert!(service.poll_ready().is_ready());
    let answered = service.call(request(&[
        &[rewrite("/b"), response_header("rule")],
        &[rewrite("/c"), response_header("backend")],
    ]));
    let send = assert_request_eq!(handle, "/c");
    send.send_response(Response(ResponseHead::new(StatusCode::OK, HeaderMap::new())));
    let Response(head) = answered.await.unwrap();
    assert_eq!(head.header(&HeaderName::from_static("x-by")).unwrap(), "rule", "the rule has the last word");
}

#[tokio::test(start_paused = true)]
async fn a_refusing_filter_ends_in_an_error() {
    let (mut service, mut handle) = mock::spawn_layer::<Request, Response, _>(FilterLayer);
    assert!(service.poll_ready().is_ready());
    let abort = policy::Abort { percent: 100, status: 503, grpc_status: 14 };
    let fault = policy::Filter::Fault(policy::Fault { delay: None, abort: Some(abort) });
    let error = service.call(request(&[&[fault]])).await.unwrap_err();
    let refused = error.downcast_ref::<Refused>();
    assert!(matches!(refused, Some(Refused::Fault { grpc_status: 14, .. })), "{error}");
    drop(service);
    assert!(handle.next_request().await.is_none(), "nothing went down");
}

#[tokio::test(start_paused = true)]
async fn an_answering_filter_keeps_the_request_from_what_is_below() {
    let (mut service, mut handle) = mock::spawn_layer::<Request, Response, _>(FilterLayer);
    assert!(service.poll_ready().is_ready());
    let redirect = policy::Filter::Redirect(policy::Redirect {
        scheme: None,
        host: None,
        path: None,
        port: None,
        status: 302,
    });
    let Response(head) = service.call(request(&[&[redirect]])).await.unwrap();
    assert_eq!(head.status(), StatusCode::FOUND);
    drop(service);
    assert!(handle.next_request().await.is_none(), "nothing went down");
}
