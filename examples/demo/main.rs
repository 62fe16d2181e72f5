//! `demo`: a small service to put sidecars beside.
//!
//! It says who it is, as JSON and in the header `x-instance`. With `--calls URL` it asks another service first, through
//! `http_proxy` like any program that honours that variable, and passes on what it was told.

use std::convert::Infallible;
use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use call::{Callee, NoAnswer};

mod call;

/// A small service to put sidecars beside.
#[derive(Debug, Parser)]
struct Arguments {
    /// Name of the service
    #[arg(long)]
    name: String,

    /// Version of the service
    #[arg(long, default_value = "v1")]
    version: String,

    /// Name of this instance
    #[arg(long)]
    instance: String,

    /// Address to listen on
    #[arg(long)]
    listen: SocketAddr,

    /// A service to ask before answering, through `http_proxy` if that is set
    #[arg(long, value_name = "URL")]
    calls: Option<Uri>,
}

#[derive(Debug)]
struct Demo {
    arguments: Arguments,
    callee: Option<Callee>,
    requests: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let proxy = env::var("http_proxy").ok();
    let callee = match arguments.calls.clone().map(|url| Callee::new(url, proxy.as_deref())).transpose() {
        Ok(callee) => callee,
        Err(message) => return refuse(&message),
    };
    let listener = match TcpListener::bind(arguments.listen).await {
        Ok(listener) => listener,
        Err(error) => return refuse(&format!("can't listen on {} (--listen): {error}", arguments.listen)),
    };
    eprintln!("demo: {} listening on {} (--listen)", arguments.instance, arguments.listen);
    let demo = Arc::new(Demo { arguments, callee, requests: AtomicU64::new(0) });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, Arc::clone(&demo)));
            }
            Err(error) => eprintln!("demo: accept: {error}"),
        }
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("demo: {message}");
    ExitCode::FAILURE
}

async fn converse(stream: TcpStream, demo: Arc<Demo>) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let demo = Arc::clone(&demo);
        async move { Ok::<_, Infallible>(demo.answer(&request).await) }
    });
    // A caller that goes away is its own business.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

impl Demo {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = json!({
            "service": self.arguments.name,
            "version": self.arguments.version,
            "instance": self.arguments.instance,
            "path": request.uri().path(),
            "request": number,
        });
        let mut response = Response::new(Full::default());
        if let Some(callee) = &self.callee {
            match callee.ask(request.headers()).await {
                Ok(answer) => {
                    *response.status_mut() = answer.status;
                    pass_on(&answer.headers, &mut response);
                    told["told"] = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
                }
                Err(NoAnswer(cause)) => {
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    response.headers_mut().insert("x-failure", HeaderValue::from_static(cause));
                }
            }
        }
        let own = HeaderValue::from_str(&self.arguments.instance);
        if let (Ok(own), false) = (own, response.headers().contains_key("x-instance")) {
            response.headers_mut().insert("x-instance", own);
        }
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        *response.body_mut() = Full::new(Bytes::from(format!("{told}\n")));
        response
    }
}

/// Who answered, and why a proxy on the way did not let someone answer.
fn pass_on(headers: &http::HeaderMap, response: &mut Response<Full<Bytes>>) {
    for (name, new_name) in [("x-instance", "x-instance"), ("outrigger-reason", "x-failure")] {
        if let Some(value) = headers.get(name) {
            response.headers_mut().insert(new_name, value.clone());
        }
    }
}
