//! TLS that is not terminated here, by the host that the client asks for, between OpenSSL's server and real clients.

use std::process::{Command, Stdio};

use outrigger_integration_tests::Process;

use super::*;

/// `openssl s_server` with a certificate for `name`, which answers HTTP requests with what it knows of the connection.
async fn server(mesh: &Mesh, name: &str) -> (Process, SocketAddr) {
    let (key, certificate) =
        (mesh.folder().join(format!("{name}.key")), mesh.folder().join(format!("{name}.pem")));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "1",
        ])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let addr = port::free();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-www", "-accept", &addr.to_string()]);
    command.arg("-key").arg(&key).arg("-cert").arg(&certificate);
    let process = Process::start(name, &mut command);
    let listens = async || TcpStream::connect(addr).await.ok().map(drop);
    eventually(DEADLINE, "openssl s_server listens", listens).await;
    (process, addr)
}

/// `curl https://HOST/`, which believes the certificate of `name` only.
fn curl(mesh: &Mesh, db: SocketAddr, host: &str, name: &str) -> std::process::Output {
    let ca = mesh.folder().join(format!("{name}.pem"));
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert"])
        .arg(ca)
        .args(["--connect-to", &format!("{host}:443:{db}"), &format!("https://{host}/")])
        .stdin(Stdio::null())
        .output()
        .expect("curl is installed")
}

/// The subject of the certificate that `openssl s_client` is shown.
fn subject(db: SocketAddr, arguments: &[&str]) -> Option<String> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &db.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.trim().strip_prefix("subject=").map(|subject| subject.trim().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clients_reach_the_server_of_the_host_that_they_ask_for() {
    let mesh = Mesh::new();
    let (_one, one) = server(&mesh, "one.example").await;
    let (_two, two) = server(&mesh, "two.test").await;
    let documents = [
        service_of("db", "TLS", &[]),
        service_of("one", "TLS", &[one]),
        service_of("two", "TCP", &[two]),
        connection_route("TLSRoute", "one", &["one.example", "*.one.example"], &[("one", 1)]),
        connection_route("TLSRoute", "two", &["two.test"], &[("two", 1)]),
    ];
    let (proxy, db) = sidecar(&mesh, &documents, &["--downstream-head", "300ms"]).await;
    for name in ["one.example", "two.test"] {
        let output = curl(&mesh, db, name, name);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("Ciphers supported in s_server"));
    }
    for (arguments, shown) in [
        (&["-servername", "one.example"][..], Some("CN = one.example")),
        (&["-servername", "x.y.one.example", "-tls1_2"], Some("CN = one.example")),
        (&["-servername", "TWO.test", "-max_send_frag", "512"], Some("CN = two.test")),
        (&["-servername", "three.test"], None),
        (&["-noservername"], None),
    ] {
        let subject = subject(db, arguments).map(|subject| subject.replace("CN=", "CN = "));
        assert_eq!(subject.as_deref(), shown, "{arguments:?}");
    }
    counts(&proxy, "outrigger_connections_refused_total", &["reason=\"no_rule\""], 2).await;
    refuses_what_is_no_hello(&proxy, db).await;
}

async fn refuses_what_is_no_hello(proxy: &Proxy, db: SocketAddr) {
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "not_tls"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "client_hello"),
        (b"\x16\x03", "hello_timeout"),
    ] {
        let mut stream = TcpStream::connect(db).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let ended = within(DEADLINE, reason, stream.read_u8()).await.unwrap_err();
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "{reason}");
        counts(proxy, "outrigger_connections_refused_total", &[&format!("reason=\"{reason}\"")], 1).await;
    }
    drop(TcpStream::connect(db).await.unwrap());
    counts(proxy, "outrigger_connections_refused_total", &["reason=\"client_gone\""], 1).await;
}
