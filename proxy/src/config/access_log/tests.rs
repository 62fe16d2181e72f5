use super::super::Config;
use super::super::otlp::{ClientFiles, OtlpProtocol};
use super::*;

const FLAGS: [&str; 2] = ["--access-log", "otlp"];
const AT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Option<AccessLog>, String> {
    let usual = ["outrigger-proxy", "--store", "/mesh", "--service", "cart", "--state-dir", "/state"];
    let arguments = usual.iter().chain(arguments).map(OsString::from);
    let known = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Config::read(arguments, known).map(|config| config.access_log).map_err(|error| error.to_string())
}

fn told(arguments: &[&str], variables: &[(&str, &str)]) -> OtlpLog {
    let log = read(arguments, variables).unwrap().unwrap();
    assert_eq!(log.choice.format, Format::Otlp);
    match log.target {
        Target::Otlp(told) => *told,
        other => panic!("it goes to {other:?}"),
    }
}

#[test]
fn a_collector_is_told_as_the_specification_names_it() {
    let usual = told(&FLAGS, &[AT]);
    assert_eq!(usual.to.endpoint, "http://collector:4318/v1/logs");
    assert_eq!((usual.to.protocol, usual.to.timeout), (OtlpProtocol::Http, Duration::from_secs(10)));
    assert_eq!((usual.delay, usual.batch), (Duration::from_secs(1), 512));
    assert_eq!((usual.to.ca_file, usual.to.client), (None, None));
    let own = told(
        &FLAGS,
        &[
            AT,
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://logs/mine"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "/logs.pem"),
            ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/key.pem"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
            ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "64"),
        ],
    );
    assert_eq!((own.to.endpoint.as_str(), own.to.timeout), ("https://logs/mine", Duration::from_millis(250)));
    assert_eq!(own.to.ca_file, Some("/ca.pem".into()));
    assert_eq!(own.to.client, Some(ClientFiles { certificate: "/logs.pem".into(), key: "/key.pem".into() }));
    assert_eq!((own.delay, own.batch), (Duration::from_millis(20), 64));
    let both = [&FLAGS[..], &["--otlp", "http://typed:4317"]].concat();
    let typed = told(&both, &[AT]);
    assert_eq!((typed.to.endpoint.as_str(), typed.to.protocol), ("http://typed:4317", OtlpProtocol::Grpc));
}

#[test]
fn it_can_be_turned_off_and_what_is_wrong_is_named() {
    for off in [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")] {
        assert_eq!(read(&FLAGS, &[AT, off]), Ok(None), "{off:?}");
    }
    assert!(
        read(&["--access-log", "/otlp"], &[]).unwrap().is_some_and(|log| log.choice.format == Format::Json)
    );
    for (name, value, says) in [
        ("OTEL_LOGS_EXPORTER", "console", "expected otlp or none"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip", "leave it out"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem", "go together"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "4097", "expected a number from 1 to 4096"),
    ] {
        let problem = read(&FLAGS, &[AT, (name, value)]).unwrap_err();
        assert!(problem.contains(says), "{name}: {problem}");
    }
    assert!(read(&FLAGS, &[]).unwrap_err().contains("there is none"));
}

#[test]
fn a_share_is_what_was_asked_for_or_refused() {
    let share = |percent: &str| {
        let log = read(&["--access-log", "stdout", "--access-log-sampling", percent], &[])?;
        Ok::<_, String>(log.expect("it is asked for").choice.share)
    };
    for (percent, expected) in [("0", 0), ("0.01", 1), ("0.07%", 7), ("33.33", 3_333), ("100%", 10_000)] {
        assert_eq!(share(percent), Ok(expected), "{percent}");
    }
    for wrong in ["0.001", "1.005", "100.01", "-1", "NaN", "all", ""] {
        assert!(share(wrong).is_err(), "{wrong}");
    }
}
