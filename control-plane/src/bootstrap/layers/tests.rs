use std::io::Write;

use clap::CommandFactory;

use super::*;
use crate::bootstrap::Bootstrap;

/// Three values of each flag: typed, of its variable, in the file.
const VALUES: [(&str, [&str; 3]); 16] = [
    ("store", ["a", "b", "c"]),
    ("listen", ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
    ("interval", ["2s", "3s", "400ms"]),
    ("collect-every", ["2s", "3h", "0s"]),
    ("state-dir", ["/a", "/b", "/c"]),
    ("signing-key", ["/a", "/b", "/c"]),
    ("trust-key", ["a", "b", "c"]),
    ("tls-cert", ["/a", "/b", "/c"]),
    ("tls-key", ["/a", "/b", "/c"]),
    ("token-file", ["/a", "/b", "/c"]),
    ("ca", ["/a", "/b", "/c"]),
    ("enrol", ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
    ("certificate-lifetime", ["10s", "1h", "744h"]),
    ("metrics", ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]),
    ("single-writer", ["true", "false", "true"]),
    ("log", ["error", "warn", "debug"]),
];

/// What comes of a flag being typed, in the environment and in the file, in this order.
fn read(flag: &str, [typed, variable, in_file]: [Option<&str>; 3]) -> Bootstrap {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    if let Some(value) = in_file {
        writeln!(file, "{flag} = {value:?}").unwrap();
    }
    let mut arguments = vec!["outrigger-control-plane".to_owned()];
    arguments.push(format!("--config={}", file.path().display()));
    // What cannot be left out: from a layer that the flag under test does not stand in.
    for (needed, of) in
        [("store", None), ("tls-cert", Some("tls-key")), ("tls-key", Some("tls-cert")), ("ca", Some("enrol"))]
    {
        if needed != flag && of.is_none_or(|of| of == flag) {
            arguments.push(format!("--{needed}=needed"));
        }
    }
    match typed {
        Some("true") => arguments.push(format!("--{flag}")),
        Some("false") | None => {}
        Some(value) => arguments.extend([format!("--{flag}"), value.to_owned()]),
    }
    let name = format!("OUTRIGGER_{}", flag.to_uppercase().replace('-', "_"));
    let environment = |asked: &str| (asked == name).then_some(variable?.into());
    let bootstrap = Bootstrap::read(arguments.into_iter().map(OsString::from), environment);
    Bootstrap { config: None, ..bootstrap.unwrap_or_else(|error| panic!("{flag}: {error}")) }
}

#[test]
fn every_flag_is_taken_from_the_command_line_then_the_environment_then_the_file() {
    let command = Bootstrap::command();
    let known = command.get_arguments().filter_map(Arg::get_long).filter(|flag| *flag != "config");
    let listed: Vec<&str> = VALUES.iter().map(|(flag, _)| *flag).collect();
    assert_eq!(known.collect::<Vec<_>>(), listed, "a flag without values to try");
    for (flag, [one, two, three]) in VALUES {
        let only = |value| read(flag, [Some(value), None, None]);
        assert_eq!(read(flag, [Some(one), Some(two), Some(three)]), only(one), "typed {flag}");
        assert_eq!(read(flag, [None, Some(two), Some(three)]), only(two), "{flag} of the environment");
        assert_eq!(read(flag, [None, Some(three), Some(two)]), only(three), "{flag} of the environment");
        assert_eq!(read(flag, [None, None, Some(three)]), only(three), "{flag} of the file");
        assert_ne!(only(one), only(two), "{flag}");
        assert_ne!(only(two), only(three), "{flag}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_the_nearest_flag() {
    for (text, expected) in [
        ("\nstor = 'x'", ":2: unknown key \"stor\", did you mean \"store\"?"),
        ("config = 'x'", ":1: unknown key \"config\";"),
        ("\n\ninterval = 'soon'", ":3: invalid value 'soon' for '--interval <TIME>': expected"),
        ("store = 1979-05-27", ":1: \"store\" can't have such a value"),
        ("store = {}", ":1: \"store\" can't have such a value"),
        ("single-writer = 'maybe'", ":1: --single-writer is a switch"),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments = ["outrigger-control-plane", "--config", path].map(OsString::from);
        let error = Bootstrap::read(arguments, |_| None).unwrap_err().to_string();
        assert!(error.starts_with(path) && error.contains(expected), "{text}: {error}");
    }
    let arguments = ["outrigger-control-plane", "--store", "x"].map(OsString::from);
    let environment = |name: &str| (name == "OUTRIGGER_METRICS").then(|| "here".into());
    let error = Bootstrap::read(arguments, environment).unwrap_err().to_string();
    assert!(error.starts_with("OUTRIGGER_METRICS: invalid value 'here' for '--metrics <ADDR>'"), "{error}");
}
