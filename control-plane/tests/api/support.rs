//! Processes, folders and requests of the tests.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Until what is waited for must have come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A folder for a store and all that lies beside it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// A running control plane; killed when it is dropped.
pub(crate) struct ControlPlane {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
    pub(crate) api: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl ControlPlane {
    /// On the folder's store, with its own state, turning fast.
    pub(crate) fn start(folder: &Folder, name: &str) -> Self {
        Self::start_with(folder, name, &[])
    }

    pub(crate) fn start_with(folder: &Folder, name: &str, more: &[&str]) -> Self {
        let state = folder.path().join(format!("state-{name}"));
        let mut command = program(env!("CARGO_BIN_EXE_outrigger-control-plane"));
        command.arg("--store").arg(folder.store()).arg("--state-dir").arg(state);
        command
            .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--interval", "50ms"])
            .args(more);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut started = Self { child, lines, said: Vec::new(), api: nowhere, metrics: nowhere };
        started.api = started.listening("(--listen)");
        started.metrics = started.listening("(--metrics)");
        started
    }

    fn listening(&mut self, flag: &str) -> SocketAddr {
        let line = self.says(flag);
        line.split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Waits for a line with `part` in it.
    pub(crate) fn says(&mut self, part: &str) -> String {
        let started = Instant::now();
        loop {
            match self.lines.recv_timeout(DEADLINE.saturating_sub(started.elapsed())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => self.said.push(line),
                Err(_) => panic!("never said {part:?}, but:\n{}", self.said.join("\n")),
            }
        }
    }

    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.api)
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn signal_termination(&self) {
        let id = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal_termination();
        self.ended()
    }

    pub(crate) async fn fetch(&self, path: &str) -> (u16, Value) {
        fetch(&format!("{}{path}", self.server())).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        try_post(&format!("{}{path}", self.server()), body).await.unwrap()
    }

    /// Applies `yaml`, with more fields in the push.
    pub(crate) async fn push(&self, yaml: &str, more: Value) -> (u16, Value) {
        self.post("/v1/resources", &push("apply", yaml, more)).await
    }

    /// Runs `outrigger VERB --server … MORE`.
    pub(crate) fn outrigger(&self, verb: &str, more: &[&str]) -> Output {
        let server = self.server();
        outrigger(&[&[verb, "--server", &server], more].concat())
    }

    /// One of its metrics.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        self.measure(name).await as u64
    }

    /// The same, where it is no whole number.
    pub(crate) async fn measure(&self, name: &str) -> f64 {
        let text = text(&format!("http://{}/metrics", self.metrics)).await;
        let name = format!("outrigger_control_plane_{name} ");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(&name))
            .unwrap_or_else(|| panic!("no {name}in {text}"));
        value.parse().unwrap()
    }

    /// Waits until the loop has turned `count` times more.
    pub(crate) async fn turned(&self, count: u64) {
        let before = self.metric("turns_total").await;
        eventually(async || self.metric("turns_total").await >= before + count).await;
    }

    /// Waits until the newest release is of revision `revision`, and returns its number.
    pub(crate) async fn published(&self, revision: u64) -> u64 {
        let mut release = 0;
        eventually(async || {
            let (_, status) = self.fetch("/v1/status").await;
            release = status.pointer("/release/release").and_then(Value::as_u64).unwrap_or(0);
            status.pointer("/release/revision") == Some(&json!(revision))
        })
        .await;
        release
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // It may have ended already, as the test wanted.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The body of a push.
pub(crate) fn push(verb: &str, yaml: &str, more: Value) -> Value {
    let mut body = json!({"verb": verb, "sources": [{"name": "test.yaml", "text": yaml}]});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    body
}

pub(crate) async fn try_post(url: &str, body: &Value) -> Result<(u16, Value), reqwest::Error> {
    let response = http().post(url).json(body).send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

pub(crate) async fn fetch(url: &str) -> (u16, Value) {
    let response = http().get(url).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

pub(crate) async fn text(url: &str) -> String {
    http().get(url).send().await.unwrap().text().await.unwrap()
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Runs `outrigger` to its end.
pub(crate) fn outrigger(arguments: &[&str]) -> Output {
    program(env!("CARGO_BIN_EXE_outrigger")).args(arguments).output().unwrap()
}

/// Runs `outrigger` with `input` on standard input.
pub(crate) fn outrigger_reading(arguments: &[&str], input: &str) -> Output {
    let mut command = program(env!("CARGO_BIN_EXE_outrigger"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Without what the environment of the test would tell it.
pub(crate) fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OUTRIGGER_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a program that was to succeed printed on standard output.
pub(crate) fn succeeded(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a program that was to fail printed on standard error.
pub(crate) fn failed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Polls `condition` until it holds.
pub(crate) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "it never came to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A service with static endpoints.
pub(crate) fn service(name: &str, endpoints: usize) -> String {
    let listed: Vec<String> =
        (0..endpoints).map(|index| format!("{{address: '127.0.0.1:{}'}}", 9_000 + index)).collect();
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{name: http, port: 80, protocol: HTTP}}]\n  endpoints:\n    static: [{}]\n",
        listed.join(", ")
    )
}

/// Two services and a split between them.
pub(crate) const SPLIT: &str = "\
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: cart}
spec:
  ports: [{name: http, port: 80, protocol: HTTP}]
  endpoints:
    static: [{address: '127.0.0.1:9001'}]
---
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: cart-v2}
spec:
  ports: [{name: http, port: 80, protocol: HTTP}]
  endpoints:
    static: [{address: '127.0.0.1:9002'}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart}
spec:
  parentRefs: [{group: \"\", kind: Service, name: cart}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    timeouts: {request: 10s, backendRequest: 2s}
    backendRefs: [{name: cart, port: 80, weight: 90}, {name: cart-v2, port: 80, weight: 10}]
";
