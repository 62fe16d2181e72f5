use std::io::Write;

use super::*;

const KEYS: [&str; 3] = [
    "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "ed25519:PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
    "ed25519:/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=",
];

/// Three values of each flag: typed, of its variable, in the file.
const VALUES: [(&str, [&str; 3]); 49] = [
    ("store", ["/a", "/b", "/c"]),
    ("service", ["a/x", "b/x", "c"]),
    ("gateway", ["a/x", "b/x", "c"]),
    ("gateway-address", ["127.0.0.1", "127.0.0.2", "::1"]),
    ("trusted-sources", ["10.0.0.1", "10.0.0.0/8", "::1"]),
    ("certificates", ["/a", "/b", "/c"]),
    ("node", ["a", "b", "c"]),
    ("zone", ["a", "b", "c"]),
    ("outbound", ["127.0.0.1:1", "unix:/a", "[::1]:3"]),
    ("inbound", ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
    ("inbound-port", ["127.0.0.1:1=1", "127.0.0.1:2=2", "[::1]:3=3"]),
    ("proxy-protocol-from", ["10.0.0.1", "10.0.0.0/8", "fd00::/8"]),
    ("app", ["127.0.0.1:1", "unix:/a", "[::1]:3"]),
    ("transparent", SWITCH),
    ("unknown-destinations", ["allow", "refuse", "allow"]),
    ("forward", ["127.0.0.1:1=a:1", "unix:/a=b=b/a:2", "[::1]:3=c:3"]),
    ("admin", ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
    ("expose-admin", SWITCH),
    ("metrics", ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
    ("metrics-by", ["endpoint", "caller", "endpoint"]),
    ("state-dir", ["/a", "/b", "/c"]),
    ("workers", ["2", "3", "4"]),
    ("memory-max", ["100", "200", "300"]),
    ("poll", ["2s", "3s", "400ms"]),
    ("trust-key", KEYS),
    ("identity-cert", ["/a", "/b", "/c"]),
    ("identity-key", ["/a", "/b", "/c"]),
    ("ca", ["https://a", "https://b:1", "https://[::1]"]),
    ("join-token-file", ["/a", "/b", "/c"]),
    ("join-token", ["a", "bb", "ccc"]),
    ("workload-api", ["unix:/a", "unix:/b", "unix:/c"]),
    ("report", ["/a", "http://b:1", "https://c"]),
    ("report-token-file", ["/a", "/b", "/c"]),
    ("report-ca-file", ["/a", "/b", "/c"]),
    ("otlp", ["http://a", "http://b", "https://c"]),
    ("trace-slow", ["2s", "3s", "4s"]),
    ("access-log", ["/a", "/b", "/c"]),
    ("access-log-format", ["json", "text", "json"]),
    ("access-log-sampling", ["1", "2", "3"]),
    ("rate-limit-store", ["redis://a", "rediss://a", "redis://:secret@a/1"]),
    ("downstream-idle", ["1s", "2s", "3s"]),
    ("downstream-head", ["1s", "2s", "3s"]),
    ("downstream-age", ["1s", "2s", "3s"]),
    ("detect-wait", ["1s", "2s", "3s"]),
    ("drain-grace", ["1s", "2s", "3s"]),
    ("drain-deadline", ["1s", "2s", "3s"]),
    ("dns-server", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
    ("log", ["error", "warn", "debug"]),
    ("config", ["", "", ""]),
];
const SWITCH: [&str; 3] = ["true", "false", "true"];

/// The flags that come of one being typed, in the environment and in the file, in this order.
fn read(flag: &str, [typed, variable, in_file]: [Option<&str>; 3]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    if let Some(value) = in_file {
        writeln!(file, "{flag} = {value:?}").unwrap();
    }
    let path = file.path().to_str().unwrap();
    let mut arguments = vec!["outrigger-proxy".to_owned(), format!("--config={path}")];
    match typed {
        Some("true") => arguments.push(format!("--{flag}")),
        Some("false") | None => {}
        Some(value) => arguments.extend([format!("--{flag}"), value.to_owned()]),
    }
    let name = format!("OUTRIGGER_{}", flag.to_uppercase().replace('-', "_"));
    let environment = |asked: &str| (asked == name).then_some(variable?.into());
    let arguments = arguments.into_iter().map(OsString::from).collect();
    let mut flags = flags(arguments, &environment).unwrap_or_else(|error| panic!("{flag}: {error}"));
    flags.config = None;
    format!("{flags:?}")
}

#[test]
fn every_flag_is_taken_from_the_command_line_then_the_environment_then_the_file() {
    let command = Flags::command();
    let known: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
    let listed: Vec<&str> = VALUES.iter().map(|(flag, _)| *flag).collect();
    assert_eq!(known, listed, "a flag without values to try");
    for (flag, [one, two, three]) in VALUES.into_iter().filter(|(flag, _)| *flag != "config") {
        let only = |value| read(flag, [Some(value), None, None]);
        assert_eq!(read(flag, [Some(one), Some(two), Some(three)]), only(one), "typed {flag}");
        assert_eq!(read(flag, [None, Some(two), Some(three)]), only(two), "{flag} of the environment");
        assert_eq!(read(flag, [None, Some(three), Some(two)]), only(three), "{flag} of the environment");
        assert_eq!(read(flag, [None, None, Some(three)]), only(three), "{flag} of the file");
        assert_ne!(only(one), only(two), "{flag}");
        assert_ne!(only(two), only(three), "{flag}");
    }
}
