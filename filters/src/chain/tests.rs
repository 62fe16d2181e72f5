use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use outrigger_snapshot::head::{RequestHead, ResponseHead};
use outrigger_snapshot::policy::{Filter, HeaderEdit, PathEdit, Redirect, Rewrite};

use super::{FilterChain, FilterError};
use crate::context::{Context, Flow};

fn head(target: &str) -> RequestHead {
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-old"), HeaderValue::from_static("1"))]);
    RequestHead::new(Method::GET, "cart:8080".parse().unwrap(), target.parse().unwrap(), headers)
}

fn values(head: &RequestHead, name: &'static str) -> Vec<String> {
    let name = HeaderName::from_static(name);
    head.headers_named(&name).map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn context(prefix: &str) -> Context {
    Context { prefix_bytes: Some(prefix.len()), ..Context::default() }
}

fn redirect() -> Redirect {
    Redirect { scheme: None, host: None, path: None, port: None, status: 302 }
}

fn location(redirect: Redirect, target: &str, prefix: &str) -> String {
    let chain = FilterChain::build(&[Filter::Redirect(redirect)]).unwrap();
    match chain.on_request(&mut head(target), &mut context(prefix)) {
        Flow::Answer(answer) => answer.location.unwrap().to_str().unwrap().to_owned(),
        Flow::Continue | Flow::Refuse(_) => panic!("a redirect answers"),
    }
}

#[test]
fn headers_are_removed_then_set_then_added() {
    let edit = HeaderEdit {
        remove: vec!["x-old".into()],
        set: pairs(&[("x-old", "set"), ("x-new", "1")]),
        add: pairs(&[("x-new", "2")]),
    };
    let chain =
        FilterChain::build(&[Filter::RequestHeaders(edit.clone()), Filter::ResponseHeaders(edit)]).unwrap();
    let mut request = head("/");
    assert_eq!(chain.on_request(&mut request, &mut context("")), Flow::Continue);
    assert_eq!(
        (values(&request, "x-old"), values(&request, "x-new")),
        (vec!["set".into()], vec!["1".into(), "2".into()])
    );

    let mut response = ResponseHead::new(StatusCode::OK, HeaderMap::new());
    chain.on_response(&mut response);
    assert_eq!(response.header(&HeaderName::from_static("x-old")).unwrap(), "set");
}

#[test]
fn a_prefix_is_replaced_element_by_element() {
    for (replacement, target, prefix, result) in [
        ("/new", "/old/a?q=1", "/old", "/new/a?q=1"),
        ("/new/", "/old/a", "/old", "/new/a"),
        ("/new", "/old", "/old", "/new"),
        ("/", "/old/a", "/old", "/a"),
        ("/", "/old", "/old", "/"),
        ("", "/old", "/old", "/"),
        ("/new", "/a", "", "/new/a"),
    ] {
        let rewrite = Rewrite { host: None, path: Some(PathEdit::Prefix(replacement.into())) };
        let mut request = head(target);
        FilterChain::build(&[Filter::Rewrite(rewrite)])
            .unwrap()
            .on_request(&mut request, &mut context(prefix));
        assert_eq!(request.path_and_query().as_str(), result, "{replacement} {target}");
    }
}

#[test]
fn host_and_whole_path_are_rewritten() {
    let rewrite = Rewrite { host: Some("other.example".into()), path: Some(PathEdit::Full("/x".into())) };
    let mut request = head("/old?q=1");
    FilterChain::build(&[Filter::Rewrite(rewrite)]).unwrap().on_request(&mut request, &mut context(""));
    assert_eq!(request.path_and_query().as_str(), "/x?q=1");
    assert_eq!(
        (request.authority().as_str(), values(&request, "host")),
        ("other.example", vec!["other.example".into()])
    );
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    for (redirect, result) in [
        (redirect(), "http://cart:8080/old?q=1"),
        (Redirect { scheme: Some("https".into()), ..redirect() }, "https://cart/old?q=1"),
        (Redirect { port: Some(80), ..redirect() }, "http://cart/old?q=1"),
        (
            Redirect { port: Some(8443), scheme: Some("https".into()), ..redirect() },
            "https://cart:8443/old?q=1",
        ),
        (
            Redirect { host: Some("o.example".into()), port: Some(81), ..redirect() },
            "http://o.example:81/old?q=1",
        ),
        (Redirect { path: Some(PathEdit::Full("/n".into())), ..redirect() }, "http://cart:8080/n?q=1"),
        (Redirect { path: Some(PathEdit::Prefix("/n".into())), ..redirect() }, "http://cart:8080/n?q=1"),
    ] {
        assert_eq!(location(redirect, "/old?q=1", "/old"), result);
    }
}

#[test]
fn what_cannot_be_built_is_named() {
    let set = |name: &str, value: &str| {
        Filter::RequestHeaders(HeaderEdit { set: pairs(&[(name, value)]), ..Default::default() })
    };
    let rewrite = |host: Option<&str>, path: Option<&str>| {
        Filter::Rewrite(Rewrite {
            host: host.map(str::to_owned),
            path: path.map(|path| PathEdit::Full(path.into())),
        })
    };
    for (filter, error) in [
        (set("a b", "1"), FilterError::HeaderName("a b".into())),
        (set("a", "1\n"), FilterError::HeaderValue { name: "a".into() }),
        (set("Transfer-Encoding", "gzip"), FilterError::Untouchable(http::header::TRANSFER_ENCODING)),
        (rewrite(Some("a@b"), None), FilterError::Host("a@b".into())),
        (rewrite(None, Some("a")), FilterError::Path("a".into())),
        (rewrite(None, Some("/a?b")), FilterError::Path("/a?b".into())),
        (Filter::Redirect(Redirect { status: 200, ..redirect() }), FilterError::Status(200)),
        (
            Filter::Redirect(Redirect { scheme: Some("ftp".into()), ..redirect() }),
            FilterError::Scheme("ftp".into()),
        ),
    ] {
        assert_eq!(FilterChain::build(&[filter]), Err(error));
    }
}
