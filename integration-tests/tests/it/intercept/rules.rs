//! `outrigger intercept`: what it loads, shows, changes and takes away.

use serde_json::Value;

use super::*;

/// All rules of the machine.
fn ruleset(namespace: &Namespace) -> String {
    printed(namespace.command("nft").args(["--stateless", "list", "ruleset"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_loaded_once_shown_in_words_and_leave_nothing_behind() {
    let network = Network::new();
    let namespace = network.namespace();
    let run = |arguments: &[&str]| {
        let mut command = namespace.command(binaries::outrigger());
        command.arg("intercept").args(arguments).output().expect("outrigger is built")
    };
    printed(namespace.command("nft").args(["add", "table", "inet", "others"]));
    let before = ruleset(&namespace);
    let shown = run(&["show"]);
    assert_eq!(shown.status.code(), Some(1), "{}", said(&shown));
    assert!(run(&["remove"]).status.success(), "there is nothing to remove");
    assert_eq!(ruleset(&namespace), before);

    let flags =
        ["--exclude-outbound-networks", "10.9.0.0/16,fd00::/8", "--exclude-inbound-ports", "22,9000-9100"];
    let install = [&["install", "--proxy-user", "4242"], &flags[..]].concat();
    let tried = run(&[&install[..], &["--dry-run"]].concat());
    assert_eq!(ruleset(&namespace), before, "a dry run changes nothing");
    assert!(run(&install).status.success());
    let once = ruleset(&namespace);
    assert!(run(&install).status.success());
    assert_eq!(ruleset(&namespace), once, "twice is once");
    let shown = said(&run(&["show"]));
    let json: Value = serde_json::from_slice(&run(&["show", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["installed"], true);
    for rule in json["rules"].as_array().unwrap() {
        let (matches, meaning) = (rule["matches"].as_str().unwrap(), rule["meaning"].as_str().unwrap());
        assert!(shown.contains(matches) && shown.contains(meaning) && !meaning.is_empty(), "{rule}");
    }
    assert!(shown.contains("9000-9100") && shown.contains("10.9.0.0/16"), "{shown}");

    // What a dry run prints is what is loaded.
    assert!(run(&["remove"]).status.success());
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), &tried.stdout).unwrap();
    printed(namespace.command("nft").arg("-f").arg(script.path()));
    assert_eq!(ruleset(&namespace), once);

    assert!(run(&["install", "--proxy-user", "4242", "--no-inbound"]).status.success());
    assert!(!ruleset(&namespace).contains("prerouting"), "replaced whole");
    assert!(run(&["remove"]).status.success());
    assert_eq!(ruleset(&namespace), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_is_refused_with_the_next_step() {
    let network = Network::new();
    let namespace = network.namespace();
    let install = ["intercept", "install", "--proxy-user"];
    for (mut command, arguments, code, next) in [
        (namespace.command_as(PROXY_USER, binaries::outrigger()), &["4242"][..], 1, "CAP_NET_ADMIN"),
        (namespace.command(binaries::outrigger()), &["root"], 2, "a user of its own"),
        (namespace.command(binaries::outrigger()), &["nobody-at-all"], 2, "no user of that name"),
        (namespace.command(binaries::outrigger()), &["1; flush ruleset"], 2, "no user of that name"),
        (
            namespace.command(binaries::outrigger()),
            &["1", "--exclude-outbound-ports", "22 }"],
            2,
            "9000-9100",
        ),
        (
            namespace.command(binaries::outrigger()),
            &["1", "--no-inbound", "--no-outbound"],
            2,
            "cannot be used",
        ),
    ] {
        let out = command.args(install).args(arguments).output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {}", said(&out));
        assert!(said(&out).contains(next), "no {next:?} in {}", said(&out));
    }
    assert_eq!(ruleset(&namespace), "");
}

/// Rules are replaced in one step, so that no connection finds none, and those that are there keep what they had.
#[tokio::test(flavor = "multi_thread")]
async fn rules_change_under_traffic_and_nobody_notices() {
    let site = Site::intercepted(Odd::default()).await;
    let database = site.database();
    let mut before = site.shop.namespace.run(TcpStream::connect(database)).await.unwrap();
    let mut greeting = vec![0; GREETING.len()];
    before.read_exact(&mut greeting).await.unwrap();
    let calling = site.shop.namespace.spawn(async move {
        let mut calls = 0_u32;
        loop {
            match client::fetch(SocketAddr::new(database.ip(), 80), "cart", "/").await {
                Ok(answer) if answer.status == StatusCode::OK => calls += 1,
                other => return format!("after {calls}: {other:?}"),
            }
        }
    });
    let count = |parts| site.cart.count(parts);
    for round in 0..20 {
        let ports = format!("{}", 2_000 + round);
        site.shop.install(&["--no-inbound", "--exclude-outbound-ports", &ports]);
        site.cart.install(&["--exclude-inbound-ports", &ports]);
        let so_far = count(&["outrigger_requests_total", "direction=\"inbound\""]).await;
        eventually(DEADLINE, "calls go on", async || {
            let now = count(&["outrigger_requests_total", "direction=\"inbound\""]).await;
            (now > so_far + 5).then_some(())
        })
        .await;
    }
    assert!(!calling.is_finished(), "a call failed: {:?}", calling.await);
    calling.abort();
    assert_eq!(count(&["outrigger_plaintext"]).await, 0, "none went around");
    before.write_all(b"still there").await.unwrap();
    let mut echo = vec![0; 11];
    before.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo, b"still there");

    // Taken away, everything is as if there had never been a mesh.
    for sidecar in [&site.shop, &site.cart] {
        assert!(sidecar.intercept(&["remove"]).status.success());
        assert_eq!(ruleset(&sidecar.namespace), "");
    }
    let before = count(&["outrigger_requests_total"]).await;
    let page = printed(&mut site.curl(&["http://cart:8080/"]));
    assert!(!page.contains("x-forwarded-client-cert") && page.contains("\"app\":\"cart\""), "{page}");
    assert_eq!(site.shop.namespace.run(converse(database, b"x")).await.unwrap(), b"x");
    assert_eq!(count(&["outrigger_requests_total"]).await, before);
}
