//! As much of Google Cloud Storage's XML API as a store needs: put with `x-goog-if-generation-match`, get, head, list, delete.
//! No emulator that can be installed here speaks it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::emulators::http_date;

const BUCKET: &str = "/mesh/";

struct Object {
    content: Bytes,
    generation: u64,
    written: u64,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    generation: u64,
}

/// A running stub with an empty bucket.
pub(crate) struct Stub {
    addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Stub {
    /// A store at `prefix` in its bucket.
    pub(crate) fn store(&self, prefix: &str) -> Store {
        let account = serde_json::json!({
            "gcs_base_url": format!("http://{}", self.addr),
            "disable_oauth": true,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        });
        let variables =
            [("GOOGLE_SERVICE_ACCOUNT_KEY", account.to_string()), ("GOOGLE_ALLOW_HTTP", "true".to_owned())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Store::open_with(&format!("gs://mesh/{prefix}"), variables).unwrap()
    }
}

pub(crate) async fn start() -> Stub {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let bucket = Arc::clone(&bucket);
            let service = service_fn(move |request| serve(Arc::clone(&bucket), request));
            let server = hyper::server::conn::http1::Builder::new();
            connections.spawn(async move {
                // A client that hangs up is none of the stub's business.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Stub { addr, _tasks: tasks }
}

async fn serve(
    bucket: Arc<Mutex<Bucket>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(answer(StatusCode::BAD_REQUEST)) };
    let mut bucket = bucket.lock().unwrap();
    let query = head.uri.query().unwrap_or_default();
    let name = decoded(head.uri.path());
    let Some(name) = name.strip_prefix(BUCKET) else {
        let listing = head.method == Method::GET && query.contains("list-type=2");
        return Ok(if listing { bucket.list(query) } else { answer(StatusCode::NOT_FOUND) });
    };
    Ok(match head.method {
        Method::PUT => {
            let absent_only =
                head.headers.get("x-goog-if-generation-match").is_some_and(|value| value == "0");
            bucket.put(name, body.to_bytes(), absent_only)
        }
        Method::GET => bucket.get(name, true),
        Method::HEAD => bucket.get(name, false),
        Method::DELETE => {
            let gone = bucket.objects.remove(name).is_some();
            answer(if gone { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
        }
        _ => answer(StatusCode::METHOD_NOT_ALLOWED),
    })
}

impl Bucket {
    fn put(&mut self, name: &str, content: Bytes, absent_only: bool) -> Response<Full<Bytes>> {
        if absent_only && self.objects.contains_key(name) {
            return answer(StatusCode::PRECONDITION_FAILED);
        }
        self.generation += 1;
        let written = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let object = Object { content, generation: self.generation, written };
        let stored = described(&object).body(Full::default()).unwrap();
        self.objects.insert(name.to_owned(), object);
        stored
    }

    fn get(&self, name: &str, whole: bool) -> Response<Full<Bytes>> {
        let Some(object) = self.objects.get(name) else { return answer(StatusCode::NOT_FOUND) };
        let described = described(object).header("content-length", object.content.len());
        described.body(if whole { object.content.clone().into() } else { Full::default() }).unwrap()
    }

    fn list(&self, query: &str) -> Response<Full<Bytes>> {
        let parameter = |wanted: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .into_iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| decoded(value))
                .unwrap_or_default()
        };
        let (prefix, after) = (parameter("prefix"), parameter("start-after"));
        let listed: String = self
            .objects
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix) && **name > after)
            .map(|(name, object)| {
                format!(
                    "<Contents><Key>{name}</Key><Size>{}</Size><LastModified>{}</LastModified><ETag>{}</ETag></Contents>",
                    object.content.len(),
                    rfc3339(object.written),
                    object.generation,
                )
            })
            .collect();
        Response::new(Bytes::from(format!("<ListBucketResult>{listed}</ListBucketResult>")).into())
    }
}

fn described(object: &Object) -> http::response::Builder {
    Response::builder()
        .header("etag", format!("\"{}\"", object.generation))
        .header("x-goog-generation", object.generation)
        .header("last-modified", http_date(object.written))
}

fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// The same instant in another notation (RFC 3339).
fn rfc3339(seconds: u64) -> String {
    let date = http_date(seconds);
    let parts: Vec<&str> = date.split([' ', ',']).filter(|part| !part.is_empty()).collect();
    let [_, day, month, year, time, _] = parts.as_slice() else { unreachable!("an HTTP date has six parts") };
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = months.find(month).unwrap_or_default() / 3 + 1;
    format!("{year}-{month:02}-{day}T{time}Z")
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}
