use super::super::Config;
use super::super::otlp::OtlpProtocol;
use super::*;

fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Option<Traces>, String> {
    let usual = ["outrigger-proxy", "--store", "/mesh", "--service", "cart", "--state-dir", "/state"];
    let arguments = usual.iter().chain(arguments).map(OsString::from);
    let known = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Config::read(arguments, known).map(|config| config.traces).map_err(|error| error.to_string())
}

#[test]
fn nobody_is_told_unless_someone_says_whom() {
    const AT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    assert_eq!(read(&[], &[]), Ok(None));
    assert_eq!(read(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None), "what is empty is not set");
    assert_eq!(read(&[], &[AT, ("OTEL_SDK_DISABLED", "True")]), Ok(None));
    assert_eq!(read(&[], &[AT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    let nothing_else = [AT, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    assert_eq!(read(&[], &nothing_else), Ok(None), "what is off need not be right");
    assert_eq!(read(&[], &[("OTEL_TRACES_EXPORTER", "zipkin")]), Ok(None));
    let traces = read(&[], &[AT]).unwrap().unwrap();
    assert_eq!(
        (traces.to.endpoint.as_str(), traces.to.protocol),
        ("http://collector:4317", OtlpProtocol::Grpc)
    );
    assert_eq!(traces.choice.sampler, Sampler::ratio(0.01, true));
    assert_eq!((traces.choice.slow_ns, traces.delay), (1_000_000_000, Duration::from_secs(5)));
    assert_eq!((traces.queue, traces.batch), (2_048, 512));
}

#[test]
fn endpoints_are_those_of_the_specification() {
    let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/base/");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/mine");
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let (http, flag) =
        (("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"), ["--otlp", "http://typed:4317"]);
    for (arguments, variables, endpoint, protocol) in [
        (&[][..], &[base][..], "https://collector:4318/base/v1/traces", OtlpProtocol::Http),
        (&[], &[base, own], "https://traces/mine", OtlpProtocol::Http),
        (&[], &[base, own, grpc], "https://traces/mine", OtlpProtocol::Grpc),
        (&[], &[base, grpc, http], "https://collector:4318/base/v1/traces", OtlpProtocol::Http),
        (&flag, &[base, own], "http://typed:4317", OtlpProtocol::Grpc),
        (&flag, &[base, http], "http://typed:4317/v1/traces", OtlpProtocol::Http),
    ] {
        let traces = read(arguments, variables).unwrap().unwrap();
        assert_eq!((traces.to.endpoint.as_str(), traces.to.protocol), (endpoint, protocol), "{variables:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (name, value, says) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "is no URL of a collector"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "expected grpc or http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "leave it out"),
        ("OTEL_TRACES_SAMPLER", "xray", "expected always_on"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "expected otlp or none"),
        ("OTEL_PROPAGATORS", "jaeger", "expected tracecontext"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "expected a number from 1 to 65536"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1s", "expected a number"),
    ] {
        let usual = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let problem = read(&[], &[(name, value), usual]).unwrap_err();
        assert!(problem.contains(value) && problem.contains(says), "{name}: {problem}");
    }
    assert!(read(&["--trace-slow", "0s"], &[]).unwrap_err().contains("expected 1ms to 24h"));
}

#[test]
fn headers_are_read_and_not_told_to_anyone() {
    const AT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    let both = [AT, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20planted, x-tenant=a=b,")];
    let headers = read(&[], &both).unwrap().unwrap().to.headers;
    assert_eq!(headers["authorization"], "Bearer planted");
    assert_eq!(headers["x-tenant"], "a=b");
    let shown = format!("{headers:?}");
    assert!(!shown.contains("planted"), "{shown}");
    let own = [AT, both[1], ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=c")];
    assert_eq!(read(&[], &own).unwrap().unwrap().to.headers.len(), 1, "those of the signal alone");
    for wrong in ["planted", "x-tenant=a,planted;=b", "x-tenant=%00planted"] {
        let problem = read(&[], &[AT, ("OTEL_EXPORTER_OTLP_HEADERS", wrong)]).unwrap_err();
        assert!(problem.contains("OTEL_EXPORTER_OTLP_HEADERS: number"), "{problem}");
        assert!(!problem.contains("planted"), "{problem}");
    }
}
