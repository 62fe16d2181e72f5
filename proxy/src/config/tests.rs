use std::collections::HashMap;
use std::io::Write;

use super::*;

const KEY: &str = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// With a home, so that there is a lasting default for state.
fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut known: HashMap<&str, &str> = HashMap::from([("HOME", "/nowhere/me"), ("POD_NAME", "cart-7")]);
    known.extend(variables.iter().copied());
    let arguments = std::iter::once("outrigger-proxy").chain(arguments.iter().copied());
    Config::read(arguments.map(OsString::from), |name| {
        known.get(name).filter(|value| **value != "unset").map(OsString::from)
    })
}

fn required(more: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    read(&[&["--store", "/mesh", "--service", "shop/cart"], more].concat(), variables)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn store_and_service_are_enough() {
    let config = required(&[], &[]).unwrap();
    assert_eq!(config.service.to_string(), "shop/cart");
    assert_eq!(config.node, "cart-7");
    assert_eq!(config.outbound.as_ref().map(ToString::to_string).as_deref(), Some("127.0.0.1:15001"));
    assert_eq!(config.inbound, None);
    assert_eq!(config.admin.to_string(), "127.0.0.1:15200");
    assert_eq!(config.metrics.to_string(), "127.0.0.1:15020");
    assert_eq!(config.poll, Duration::from_secs(1));
    assert_eq!(config.workers.get(), 1);
    assert_eq!(config.drain.grace, Duration::from_secs(5));
    assert_eq!(config.drain.deadline, Duration::from_secs(25));
    assert_eq!(config.downstream.idle, Duration::from_secs(300));
    assert_eq!(config.downstream.head, Duration::from_secs(10));
    assert_eq!(config.downstream.age, Duration::from_secs(3_600));
    assert!(config.trusts_on_first_use());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() {
    let file = file("poll = \"3s\"\nworkers = 3\nzone = \"file\"\nnode = \"file\"\nexpose-admin = true\n");
    let path = file.path().to_str().unwrap();
    let variables = [
        ("OUTRIGGER_CONFIG", path),
        ("OUTRIGGER_WORKERS", "2"),
        ("OUTRIGGER_ZONE", "environment"),
        ("OUTRIGGER_EXPOSE_ADMIN", "false"),
    ];
    let config = required(&["--zone", "typed"], &variables).unwrap();
    assert_eq!(config.zone.as_deref(), Some("typed"));
    assert_eq!(config.workers.get(), 2);
    assert_eq!(config.poll, Duration::from_secs(3));
    assert_eq!(config.node, "file");
    assert_eq!(config.drain.grace, Duration::from_secs(5));
    let exposed = required(&["--admin", "0.0.0.0:1"], &variables);
    assert!(matches!(exposed, Err(ConfigError::Combination(_))), "{exposed:?}");
    let exposed = required(&["--admin", "0.0.0.0:1", "--config", path], &[]);
    assert!(exposed.is_ok(), "{exposed:?}");
}

#[test]
fn lists_come_from_one_layer_only() {
    let file = file("dns-server = [\"10.0.0.1\", \"10.0.0.2:5353\"]\n");
    let path = file.path().to_str().unwrap();
    let servers =
        |config: Config| -> Vec<String> { config.dns_servers.iter().map(ToString::to_string).collect() };
    let from_file = required(&["--config", path], &[]).unwrap();
    assert_eq!(servers(from_file), ["10.0.0.1:53", "10.0.0.2:5353"]);
    let variables = [("OUTRIGGER_DNS_SERVER", "::1,10.0.0.3")];
    let from_environment = required(&["--config", path], &variables).unwrap();
    assert_eq!(servers(from_environment), ["[::1]:53", "10.0.0.3:53"]);
    let typed = ["--config", path, "--dns-server", "10.0.0.4", "--dns-server", "10.0.0.5"];
    assert_eq!(servers(required(&typed, &variables).unwrap()), ["10.0.0.4:53", "10.0.0.5:53"]);
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_the_next_step() {
    let cases = [
        ("pol = \"1s\"", ":1: unknown key \"pol\", did you mean \"poll\"?"),
        ("\n\npoll = \"soon\"", ":3: invalid value 'soon' for '--poll <TIME>': expected a whole number"),
        ("poll = {a = 1}", ":1: \"poll\" can't have such a value"),
        ("workers = 0", ":1: invalid value '0' for '--workers <N>': expected 1 to 256"),
        ("config = \"x\"", ":1: unknown key \"config\""),
        ("expose-admin = \"maybe\"", ":1: --expose-admin is a switch"),
        ("app = \"db.internal\"", "expected an IP address or localhost"),
    ];
    for (text, expected) in cases {
        let file = file(text);
        let path = file.path().to_str().unwrap();
        let message = required(&["--config", path], &[]).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
        assert!(message.starts_with(path), "{message}");
    }
    let message = required(&[], &[("OUTRIGGER_TRUST_KEY", "rsa:x")]).unwrap_err().to_string();
    assert!(message.starts_with("OUTRIGGER_TRUST_KEY: invalid value 'rsa:x'"), "{message}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--service", "cart"], &["--store is missing", "OUTRIGGER_STORE"]),
        (&["--store", "/mesh"], &["--service is missing"]),
        (&["--store", "s3://b/m", "--service", "cart"], &["--trust-key is missing"]),
        (&["--store", "/m", "--service", "a", "--inbound", "127.0.0.1:1"], &["--app"]),
        (&["--store", "/m", "--service", "a", "--admin", "0.0.0.0:1"], &["--admin", "--expose-admin"]),
        (
            &["--store", "/m", "--service", "a", "--drain-grace", "30s"],
            &["--drain-deadline", "--drain-grace"],
        ),
        (&["--store", "/m", "--service", "a", "--report-ca-file", "x"], &["--report"]),
        (
            &["--store", "/m", "--service", "a", "--identity-cert", "x"],
            &["--identity-cert", "--identity-key"],
        ),
        (&["--store", "/m", "--service", "a", "--join-token-file", "x"], &["--ca"]),
        (
            &["--store", "/m", "--service", "a", "--proxy-protocol-from", "10.0.0.1"],
            &["--proxy-protocol-from", "--app", "--gateway"],
        ),
        (
            &[
                "--store",
                "/m",
                "--service",
                "a",
                "--ca",
                "https://c",
                "--identity-cert",
                "x",
                "--identity-key",
                "y",
            ],
            &["--ca", "--identity-cert", "give one"],
        ),
        (
            &[
                "--store",
                "/m",
                "--service",
                "a",
                "--ca",
                "https://c",
                "--join-token-file",
                "x",
                "--join-token",
                "y",
            ],
            &["--join-token-file", "--join-token"],
        ),
        (&["--store", "/m", "--service", "a", "--admin", "127.0.0.1:15001"], &["--outbound", "--admin"]),
        (
            &["--store", "/m", "--service", "a", "--report", "http://cp:1", "--report-token-file", "x"],
            &["https"],
        ),
    ];
    for (arguments, expected) in cases {
        let error = read(arguments, &[]).unwrap_err();
        let message = error.to_string();
        for part in *expected {
            assert!(message.contains(part), "{arguments:?}: {message}");
        }
        assert_eq!(error.exit_code(), 2);
    }
    assert_eq!(read(&["--help"], &[]).unwrap_err().exit_code(), 0);
}

#[test]
fn listeners_are_where_the_kernel_delivers_what_it_redirects() {
    let inbound = |arguments: &[&str]| required(arguments, &[]).unwrap().inbound.unwrap().listen.to_string();
    assert_eq!(inbound(&["--app", "localhost"]), "127.0.0.1:15006");
    assert_eq!(inbound(&["--app", "localhost", "--transparent"]), "0.0.0.0:15006");
    let config = required(&["--transparent", "--unknown-destinations", "refuse"], &[]).unwrap();
    assert_eq!(config.transparent, Some(Transparent { unknown: UnknownDestinations::Refuse }));
    for (arguments, expected) in [
        (&["--unknown-destinations", "refuse"][..], "--transparent"),
        (&["--transparent", "--outbound", "10.0.0.1:15001"], "it is on 127.0.0.1"),
        (&["--transparent", "--outbound", "[::1]:15001"], "it is on 127.0.0.1"),
        (&["--transparent", "--outbound", "unix:/run/out"], "--outbound unix:/run/out gets nothing"),
        (&["--transparent", "--app", "::1", "--inbound", "127.0.0.1:15006"], "0.0.0.0:15006"),
        (&["--transparent", "--app", "10.0.0.1"], "on loopback"),
    ] {
        let message = required(arguments, &[]).unwrap_err().to_string();
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let message = required(&["--config", "/nowhere/at/all.toml"], &[]).unwrap_err().to_string();
    assert!(message.contains("/nowhere/at/all.toml"), "{message}");
    let broken = file("= 1");
    let error = required(&["--config", broken.path().to_str().unwrap()], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { .. }), "{error:?}");
    let large = file(&"#".repeat(70_000));
    let error = required(&["--config", large.path().to_str().unwrap()], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error:?}");
}

#[test]
fn state_has_a_place_of_its_own_for_each_service_node_and_store() {
    let place = |more: &[&str], variables: &[(&str, &str)]| required(more, variables).unwrap().state;
    let systemd = place(&[], &[("STATE_DIRECTORY", "/var/lib/outrigger:/other")]);
    assert!(systemd.path.starts_with("/var/lib/outrigger/proxy"), "{systemd:?}");
    let xdg = place(&[], &[("XDG_STATE_HOME", "/xdg")]);
    assert!(xdg.path.starts_with("/xdg/outrigger/proxy"), "{xdg:?}");
    let home = place(&[], &[]);
    assert!(home.path.starts_with("/nowhere/me/.local/state/outrigger/proxy"), "{home:?}");
    assert!(home.persistent);
    assert_ne!(home.path, place(&["--node", "other"], &[]).path);
    assert_ne!(home.path, place(&["--store", "/other"], &[]).path);
    assert_ne!(home.path, place(&["--service", "cart"], &[]).path);
    let temporary = place(&["--trust-key", KEY], &[("HOME", "unset")]);
    assert!(temporary.path.starts_with(std::env::temp_dir()), "{temporary:?}");
    assert!(!temporary.persistent);
    assert!(required(&[], &[("HOME", "unset")]).is_err(), "a key is learned only if it can be remembered");
    assert_eq!(place(&["--state-dir", "/s"], &[]).path, PathBuf::from("/s"));
}

#[test]
fn listeners_for_one_port_are_bounded_and_need_an_application() {
    let told = |arguments: &[&str]| required(arguments, &[]).unwrap_err().to_string();
    let alone = told(&["--inbound-port", "127.0.0.1:1=80"]);
    assert!(alone.contains("--app does not say where it is"), "{alone}");
    let many: Vec<_> = (1..=FORWARDS_MAX + 1).map(|port| format!("127.0.0.1:{port}=80")).collect();
    let many = told(&["--app", "127.0.0.1", "--inbound-port", &many.join(",")]);
    assert!(many.contains("--inbound-port is given 65 times, at most 64 are allowed"), "{many}");
    let twice = told(&["--app", "127.0.0.1", "--inbound-port", "127.0.0.1:15001=80"]);
    assert!(twice.contains("--outbound and --inbound-port are both"), "{twice}");
    for wrong in ["127.0.0.1=80", "127.0.0.1:1=0", "127.0.0.1:1=web", "127.0.0.1:1"] {
        assert!(told(&["--app", "127.0.0.1", "--inbound-port", wrong]).contains("ADDRESS=PORT"), "{wrong}");
    }
    assert!(told(&["--proxy-protocol-from", "10.0.0.0/33"]).contains("an address or a network"));
    assert!(told(&["--detect-wait", "0s"]).contains("10ms to 1m"));
}

#[test]
fn applications_and_reports_are_addresses() {
    for (text, expected) in [
        ("127.0.0.1", Some(("127.0.0.1", None))),
        ("localhost:8080", Some(("127.0.0.1", Some(8080)))),
        ("[::1]:80", Some(("::1", Some(80)))),
        ("::1", Some(("::1", None))),
        ("127.0.0.1:0", None),
        ("cart", None),
        ("", None),
    ] {
        let app: Option<App> = text.parse().ok();
        let expected = expected.map(|(address, port)| App::At { address: address.parse().unwrap(), port });
        assert_eq!(app, expected, "{text}");
    }
    let socket = |path: &str| format!("unix:{path}").parse::<App>();
    assert_eq!(socket("/run/app.sock"), Ok(App::Socket("/run/app.sock".into())));
    let longest = format!("/{}", "a".repeat(106));
    assert!(socket(&longest).is_ok() && socket(&format!("{longest}a")).unwrap_err().contains("at most 107"));
    assert!(socket("app.sock").unwrap_err().contains("absolute") && socket("").is_err());
    let report = |url: &str| required(&["--report", url], &[]).ok().and_then(|config| config.report);
    assert_eq!(report("/reports"), Some(ReportTarget::Folder("/reports".into())));
    let Some(ReportTarget::ControlPlane(collector)) = report("https://cp.internal/mesh/") else {
        panic!("an https URL is a control plane");
    };
    assert_eq!(
        (collector.host.as_str(), collector.port, collector.prefix.as_str()),
        ("cp.internal", 443, "/mesh")
    );
    for url in ["ftp://x", "http://", "http://user@x", "http://x?y", ""] {
        assert_eq!(report(url), None, "{url}");
    }
}

#[test]
fn the_application_may_call_through_sockets() {
    let config = required(&["--outbound", "unix:/run/out", "--forward", "unix:/run/a=b=db:1"], &[]).unwrap();
    assert_eq!(config.outbound, Some(Place::Socket("/run/out".into())));
    assert_eq!(config.forwards[0].listen, Place::Socket("/run/a=b".into()));
    assert_eq!(config.forwards[0].port.to_string(), "default/db:1");
    let long = format!("unix:/{}", "a".repeat(107));
    let long_forward = format!("{long}=db:1");
    for (arguments, expected) in [
        (&["--outbound", "unix:out"][..], "'--outbound <ADDR>': unix:out is no absolute path"),
        (&["--outbound", &long], "has 108 bytes, and the system takes at most 107"),
        (&["--outbound", "/run/out"], "or unix:/PATH of a socket"),
        (&["--forward", "unix:out=db:1"], "unix:out is no absolute path"),
        (&["--forward", &long_forward], "has 108 bytes"),
        (&["--forward", "unix:/run/db"], "unix:/run/db.sock=shop/db:5432"),
        (&["--forward", "127.0.0.1=db:1"], "expected an IP address and a port"),
        (
            &["--outbound", "unix:/s", "--forward", "unix:/s=db:1"],
            "--outbound and --forward are both unix:/s: give each its own",
        ),
        (&["--app", "127.0.0.1", "--inbound", "unix:/s"], "--inbound"),
    ] {
        let message = required(arguments, &[]).unwrap_err().to_string();
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn a_control_plane_makes_certificates_over_https_only() {
    let of = |url: &str| match required(&["--ca", url], &[]).map(|config| config.identity) {
        Ok(Some(IdentityFrom::Ca(authority))) => Some(authority.to_string()),
        _ => None,
    };
    assert_eq!(of("https://cp.test").as_deref(), Some("cp.test:15301"));
    assert_eq!(of("https://cp.test:443/").as_deref(), Some("cp.test:443"));
    assert_eq!(of("https://[::1]:7").as_deref(), Some("[::1]:7"));
    for wrong in ["http://cp.test", "cp.test", "https://cp.test/path", "https://user@cp.test", "/folder"] {
        assert_eq!(of(wrong), None, "{wrong}");
    }
}

#[test]
fn nothing_of_a_join_token_is_printed() {
    for wrong in ["sesame", "orj1.0011223344556677.sesame.sesame"] {
        let variables = [("OUTRIGGER_JOIN_TOKEN", wrong)];
        let error = required(&["--ca", "https://cp.test"], &variables).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("--join-token: ") && message.contains("certs token create"), "{message}");
        assert!(!message.contains("sesame") && !format!("{error:?}").contains("sesame"), "{message}");
    }
}

#[test]
fn the_store_of_rate_limits_is_read_and_nothing_of_a_wrong_one_is_repeated() {
    let stored = |config: Config| config.rate_limit_store.map(|store| store.to_string());
    assert_eq!(stored(required(&[], &[]).unwrap()), None);
    let variables = [("OUTRIGGER_RATE_LIMIT_STORE", "rediss://mesh:sesame@cache.test/4")];
    let config = required(&[], &variables).unwrap();
    assert!(!format!("{config:?}").contains("sesame"));
    assert_eq!(stored(config).as_deref(), Some("rediss://cache.test:6379/4"));
    let typed = ["--rate-limit-store", "redis://10.0.0.1"];
    assert_eq!(stored(required(&typed, &variables).unwrap()).as_deref(), Some("redis://10.0.0.1:6379/0"));
    let file = file("rate-limit-store = \"redis://:sesame@cache:port\"\n");
    let path = file.path().to_str().unwrap();
    for wrong in [
        required(&["--config", path], &[]),
        required(&["--rate-limit-store", "http://:sesame@cache"], &[]),
        required(&[], &[("OUTRIGGER_RATE_LIMIT_STORE", "sesame")]),
    ] {
        let error = wrong.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("--rate-limit-store") && message.contains("HOST[:PORT]"), "{message}");
        assert!(!message.contains("sesame") && !format!("{error:?}").contains("sesame"), "{message}");
    }
}
