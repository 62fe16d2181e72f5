//! TLS that ends at a gateway, as `curl`, `openssl` and `testssl` see it.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// A gateway of HTTPS before one application.
struct Site {
    authority: Authority,
    mesh: Mesh,
    shop: App,
    port: u16,
    edge: Gateway,
}

impl Site {
    /// With listeners for these hosts, each with a certificate of the same name, for these names, and what else its `tls` has.
    async fn new(listeners: &[(&str, &str, &[&str], &str)]) -> Self {
        let (authority, mesh, shop) = (Authority::new(), Mesh::new(), App::start("shop").await);
        let port = port::free().port();
        for (name, _, names, _) in listeners.iter().filter(|(_, _, names, _)| !names.is_empty()) {
            show(&mesh, &authority, name, names);
        }
        let listeners: Vec<_> =
            listeners.iter().map(|(name, host, _, tls)| https(name, port, host, name, tls)).collect();
        let redirect = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: away}\nspec:\n  \
             parentRefs: [{name: edge}]\n  rules: [{matches: [{path: {value: /away}}], filters: [{type: RequestRedirect, \
             requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /there}}}]}]"
            .to_owned();
        let resources = [gateway(&listeners), service("shop", &[shop.addr]), route("shop", &[]), redirect];
        mesh.publish(&all(&resources));
        let edge = Gateway::start(&mesh, "edge", &[]).await;
        edge.ready().await;
        Self { authority, mesh, shop, port, edge }
    }

    async fn curl(&self, host: &str, arguments: &[&str]) -> String {
        said(&curl(&self.mesh, &self.authority, host, self.port, arguments).await)
    }

    /// What `openssl s_client` says of a handshake.
    async fn handshake(&self, host: &str, arguments: &[&str]) -> String {
        let address = at(self.port).to_string();
        let name: &[&str] = if host.is_empty() { &["-noservername"] } else { &["-servername", host] };
        openssl(&[&["s_client", "-connect", &address], name, arguments].concat()).await
    }

    /// The certificate that is shown for a host.
    async fn serial(&self, host: &str) -> Option<String> {
        shown(at(self.port), host).await
    }
}

#[tokio::test]
async fn each_host_is_shown_its_certificate_and_speaks_what_it_can() {
    let site = Site::new(&[
        ("wild", "*.example.org", &["*.example.org"], ""),
        ("shop", "shop.example.org", &["shop.example.org"], ", options: {outrigger.dev/min-version: '1.3'}"),
    ])
    .await;
    for (host, arguments, says) in [
        ("shop.example.org", &[][..], "HTTP/2 200"),
        ("blog.example.org", &[], "HTTP/2 200"),
        ("blog.example.org", &["--http1.1"], "HTTP/1.1 200"),
        ("blog.example.org", &["--tls-max", "1.2"], "HTTP/2 200"),
        // One label, as RFC 9525 has it, although the listener is for all below.
        ("a.b.example.org", &[], "no alternative certificate subject name matches"),
        ("shop.example.org", &["--tls-max", "1.2"], "alert"),
    ] {
        let said = site.curl(host, arguments).await;
        assert!(said.contains(says), "{host} {arguments:?}: {said}");
    }
    let seen = site.shop.last().unwrap().headers;
    assert_eq!(seen["x-forwarded-proto"], "https");
    let own = site.serial("shop.example.org").await;
    assert!(own.is_some() && own != site.serial("blog.example.org").await);
    // Without a name, and for one that nobody is for, the first listener of the port is meant.
    let first = site.serial("blog.example.org").await;
    assert_eq!((site.serial("").await, site.serial("other.test").await), (first.clone(), first));
    let away = site.curl("blog.example.org", &["--request-target", "/away"]).await;
    assert!(away.contains(&format!("location: https://blog.example.org:{}/there", site.port)), "{away}");
    let plain = ask(site.port, "shop.example.org", "/").await;
    assert_eq!((plain.status, plain.reason()), (StatusCode::BAD_REQUEST, "tls_required"), "{}", plain.text());
}

#[tokio::test]
async fn a_host_without_a_certificate_is_refused_alone_until_there_is_one() {
    let site = Site::new(&[
        ("shop", "shop.example.org", &["shop.example.org"], ""),
        ("late", "late.example.org", &[], ""),
    ])
    .await;
    assert!(site.curl("shop.example.org", &[]).await.contains("HTTP/2 200"));
    let refused = site.handshake("late.example.org", &[]).await;
    assert!(refused.contains("unrecognized name"), "{refused}");
    let counted = ["outrigger_tls_handshakes_total", "result=\"no_certificate\""];
    site.edge.says(&counted, 1).await;
    site.edge.says(&["outrigger_edge_certificate_expiry_timestamp_seconds", "default/late"], 0).await;
    show(&site.mesh, &site.authority, "late", &["late.example.org"]);
    eventually(DEADLINE, "the certificate is shown", async || {
        site.curl("late.example.org", &[]).await.contains("HTTP/2 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn new_certificates_are_taken_however_they_come_and_unusable_ones_are_not() {
    let site = Site::new(&[("shop", "shop.example.org", &["shop.example.org"], "")]).await;
    let folder = certificates(&site.mesh).join("default/shop");
    let pair = || site.authority.certify(&["shop.example.org"], |_| {});
    let mut before = site.serial("shop.example.org").await.unwrap();
    let mut renewed = async |how: &str| {
        before = eventually(DEADLINE, how, async || {
            site.serial("shop.example.org").await.filter(|now| *now != before)
        })
        .await;
    };
    let (certificate, key) = pair();
    std::fs::write(folder.join("tls.key"), &key).unwrap();
    std::fs::write(folder.join("tls.crt"), &certificate).unwrap();
    renewed("files were written in place").await;

    show(&site.mesh, &site.authority, "shop", &["shop.example.org"]);
    renewed("files were renamed").await;

    // As Kubernetes swaps a secret: the folder of the data is a link, and the files are links into it.
    let versions = site.mesh.folder().join("versions");
    for version in ["one", "two"] {
        let (certificate, key) = pair();
        replace(&versions.join(version).join("tls.crt"), certificate.as_bytes());
        replace(&versions.join(version).join("tls.key"), key.as_bytes());
    }
    let turn_to = |version: &str| {
        let next = versions.join("next");
        symlink(versions.join(version), &next).unwrap();
        std::fs::rename(next, versions.join("data")).unwrap();
    };
    turn_to("one");
    for name in ["tls.crt", "tls.key"] {
        let next = folder.join("link");
        symlink(versions.join("data").join(name), &next).unwrap();
        std::fs::rename(next, folder.join(name)).unwrap();
    }
    renewed("links were put in the place of files").await;
    turn_to("two");
    renewed("the link was swapped").await;

    let expired = site
        .authority
        .certify(&["shop.example.org"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let other = pair();
    let kept = before;
    for (refusals, (certificate, key)) in
        [(1, (pair().0, other.1)), (2, expired), (3, ("nothing".to_owned(), String::new()))]
    {
        replace(&versions.join("two/tls.key"), key.as_bytes());
        replace(&versions.join("two/tls.crt"), certificate.as_bytes());
        eventually(DEADLINE, "it is refused", async || {
            let metrics = outrigger_integration_tests::Metrics::of(site.edge.metrics).await?;
            (metrics.sum(&["outrigger_edge_certificate_refusals_total"]) >= refusals).then_some(())
        })
        .await;
        assert_eq!(site.serial("shop.example.org").await.unwrap(), kept);
    }
}

#[tokio::test]
async fn what_the_authority_says_of_a_certificate_is_handed_on() {
    let site = Site::new(&[("shop", "shop.example.org", &["shop.example.org"], "")]).await;
    let without = site.handshake("shop.example.org", &["-status"]).await;
    assert!(without.contains("OCSP response: no response sent"), "{without}");
    let folder = certificates(&site.mesh).join("default/shop");
    let trouble = async |reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        site.edge.says(&["outrigger_edge_certificate_trouble", "default/shop", &reason], 1).await;
        let shown = site.handshake("shop.example.org", &["-status"]).await;
        assert!(shown.contains("OCSP response: no response sent"), "{reason}: {shown}");
    };
    let status = ["-status"];
    let stapled = async || site.handshake("shop.example.org", &status).await.contains("Cert Status: good");
    replace(&folder.join("tls.ocsp"), &response(&site, &folder, "V").await);
    eventually(DEADLINE, "it is stapled", async || stapled().await.then_some(())).await;
    // "tryLater" (RFC 6960 §4.2.1) is the shortest answer, and says nothing of the certificate.
    replace(&folder.join("tls.ocsp"), &[0x30, 0x03, 0x0a, 0x01, 0x03]);
    trouble("ocsp_malformed").await;
    replace(&folder.join("tls.ocsp"), &response(&site, &folder, "R").await);
    trouble("ocsp_revoked").await;
    let of_before = response(&site, &folder, "V").await;
    show(&site.mesh, &site.authority, "shop", &["shop.example.org"]);
    replace(&folder.join("tls.ocsp"), &of_before);
    trouble("ocsp_other_certificate").await;
    replace(&folder.join("tls.ocsp"), &response(&site, &folder, "V").await);
    eventually(DEADLINE, "it is stapled again", async || stapled().await.then_some(())).await;
}

/// What the site's authority says of the certificate in a folder: `V`, it is valid, or `R`, it is revoked.
async fn response(site: &Site, folder: &Path, status: &str) -> Vec<u8> {
    let made = site.mesh.folder().join("responder");
    std::fs::create_dir_all(&made).unwrap();
    let path = |name: &str| made.join(name).to_str().unwrap().to_owned();
    let (ca, key, index, out) = (path("ca.crt"), path("ca.key"), path("index.txt"), path("response"));
    let leaf = folder.join("tls.crt").to_str().unwrap().to_owned();
    replace(Path::new(&ca), site.authority.pem.as_bytes());
    replace(Path::new(&key), site.authority.key_pem().as_bytes());
    let serial = openssl(&["x509", "-in", &leaf, "-noout", "-serial"]).await;
    let serial = serial.trim().strip_prefix("serial=").unwrap().to_owned();
    let revoked = if status == "R" { "200101000000Z" } else { "" };
    let line = format!("{status}\t400101000000Z\t{revoked}\t{serial}\tunknown\t/CN=someone\n");
    replace(Path::new(&index), line.as_bytes());
    let asked =
        ["-index", &index, "-rsigner", &ca, "-rkey", &key, "-CA", &ca, "-issuer", &ca, "-cert", &leaf];
    openssl(&[&["ocsp"], &asked[..], &["-ndays", "1", "-respout", &out]].concat()).await;
    std::fs::read(out).unwrap()
}

/// Everything that `testssl` (a Debian package) looks at in a server, but for simulated clients and ratings.
#[tokio::test]
async fn testssl_finds_nothing_worse_than_low() {
    let site = Site::new(&[("shop", "shop.example.org", &["shop.example.org"], "")]).await;
    let (report, roots) = (site.mesh.folder().join("testssl.json"), site.mesh.folder().join("roots.pem"));
    replace(&roots, site.authority.pem.as_bytes());
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--nodns", "none"]);
    command.args(["-p", "-s", "-f", "-U", "-S", "--severity", "MEDIUM", "--jsonfile"]).arg(&report);
    command.arg("--add-ca").arg(&roots).arg(format!("shop.example.org:{}", site.port));
    let out = finished(command, Duration::from_secs(170)).await;
    let text = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{}", said(&out)));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    // What it could not find out is a warning. Certificates of tests hold for ever, and their authority says nowhere what it has taken back.
    let ours = |finding: &&serde_json::Value| {
        let of_tests =
            ["cert_validityPeriod", "cert_revocation"].map(|id| finding["id"] == id).contains(&true);
        finding["severity"] != "WARN" && !of_tests
    };
    let findings: Vec<_> = findings.iter().filter(ours).collect();
    assert!(findings.is_empty(), "{findings:#?}\n{}", said(&out));
    assert!(said(&out).contains("TLS 1.3"), "{}", said(&out));
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_said_for_a_while_goes_on_where_it_was() {
    use outrigger_integration_tests::within;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// For longer than a connection keeps what it only needs to speak.
    const LULL: Duration = Duration::from_millis(2_500);
    let site = Site::new(&[("shop", "shop.example.org", &["shop.example.org"], "")]).await;
    let address = at(site.port).to_string();
    let mut client = tokio::process::Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &address, "-servername", "shop.example.org"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("there is openssl");
    let (mut says, mut hears) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    for _ in 0..3 {
        tokio::time::sleep(LULL).await;
        says.write_all(b"GET / HTTP/1.1\r\nhost: shop.example.org\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        let count = within(DEADLINE, "an answer", hears.read(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
}
