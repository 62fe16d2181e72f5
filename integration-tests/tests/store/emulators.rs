//! Object stores as processes of their own, on ports that they pick themselves.
//!
//! `.ci/emulators` installs them below `target/tools`; `OUTRIGGER_TEST_TOOLS` names another place.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger_integration_tests::binaries::tool;
use outrigger_integration_tests::{Process, eventually};
use outrigger_store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const START_MAX: Duration = Duration::from_secs(60);
/// The well-known account of every Azure emulator, and its well-known key.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running emulator with an empty bucket.
pub(crate) struct Emulator {
    _process: Process,
    _scratch: tempfile::TempDir,
    bucket: &'static str,
    variables: Vec<(&'static str, String)>,
}

impl Emulator {
    /// A store at `prefix` in its bucket.
    pub(crate) fn store(&self, prefix: &str) -> Store {
        let variables = self.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Store::open_with(&self.url(prefix), variables).unwrap()
    }

    /// The URL of that store.
    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("{}/{prefix}", self.bucket)
    }

    /// Tells a program how to reach it.
    pub(crate) fn introduce_to(&self, command: &mut Command) {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }
}

/// Azure Blob Storage.
pub(crate) async fn azurite() -> Emulator {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(tool("azurite/node_modules/.bin/azurite-blob"));
    command
        .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--skipApiVersionCheck", "--silent"])
        .args(["--disableTelemetry", "--location"])
        .arg(scratch.path());
    let mut process = Process::start("azurite", &mut command);
    let addr = address(&mut process).await;
    make_container(addr, "mesh").await;
    let variables = vec![
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY.to_owned()),
        ("AZURE_ENDPOINT", format!("http://{addr}/{ACCOUNT}")),
        ("AZURE_ALLOW_HTTP", "true".to_owned()),
    ];
    Emulator { _process: process, _scratch: scratch, bucket: "az://mesh", variables }
}

/// S3.
pub(crate) async fn moto() -> Emulator {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(tool("moto/bin/moto_server"));
    let mut process = Process::start("moto", command.args(["-H", "127.0.0.1", "-p", "0"]));
    let addr = address(&mut process).await;
    let status = put(addr, "/mesh", &[("authorization", "AWS4-HMAC-SHA256 Credential=x/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x".to_owned())]).await;
    assert_eq!(status, 200, "the bucket is made");
    Emulator { _process: process, _scratch: scratch, bucket: "s3://mesh", variables: s3_variables(addr) }
}

/// An S3 that takes `If-None-Match` and ignores it.
pub(crate) async fn s3rver() -> Emulator {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(tool("s3rver/node_modules/.bin/s3rver"));
    command.args(["--address", "127.0.0.1", "--port", "0", "--configure-bucket", "mesh", "--directory"]);
    let mut process = Process::start("s3rver", command.arg(scratch.path()));
    let addr = address(&mut process).await;
    let mut variables = s3_variables(addr);
    // The one account that it knows.
    for (name, value) in &mut variables {
        if *name == "AWS_ACCESS_KEY_ID" || *name == "AWS_SECRET_ACCESS_KEY" {
            *value = "S3RVER".to_owned();
        }
    }
    Emulator { _process: process, _scratch: scratch, bucket: "s3://mesh", variables }
}

fn s3_variables(addr: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT", format!("http://{addr}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

/// The address that an emulator says it listens on, once it does.
async fn address(process: &mut Process) -> SocketAddr {
    eventually(START_MAX, "the emulator listens", async || {
        let log = process.log();
        assert!(process.is_running(), "it ended: {log}");
        let said = log.split("127.0.0.1:").skip(1).find_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u16>().ok().filter(|port| *port != 0)
        })?;
        Some(SocketAddr::from(([127, 0, 0, 1], said)))
    })
    .await
}

/// Makes a container, signed with the account's key (the Blob service's Shared Key scheme).
async fn make_container(addr: SocketAddr, container: &str) {
    let date = http_date(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    let version = "2021-08-06";
    let canonical = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(ACCOUNT_KEY).unwrap());
    let signature = STANDARD.encode(hmac::sign(&key, canonical.as_bytes()));
    let headers = [
        ("x-ms-date", date),
        ("x-ms-version", version.to_owned()),
        ("authorization", format!("SharedKey {ACCOUNT}:{signature}")),
    ];
    let status = put(addr, &format!("/{ACCOUNT}/{container}?restype=container"), &headers).await;
    assert_eq!(status, 201, "the container is made");
}

/// One empty PUT; the status.
async fn put(addr: SocketAddr, target: &str, headers: &[(&str, String)]) -> u16 {
    let mut request =
        format!("PUT {target} HTTP/1.1\r\nhost: {addr}\r\ncontent-length: 0\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no HTTP: {answer}"))
}

/// IMF-fixdate (RFC 9110 §5.6.7) of a time in seconds since 1970.
pub(crate) fn http_date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    // Days to civil date, by eras of 400 years that start on 1 March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    format!(
        "{weekday}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        months[month as usize],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}
