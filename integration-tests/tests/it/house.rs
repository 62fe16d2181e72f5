//! The rules of the house, as tests. Each failure names the file, the line, and why the rule exists.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

use serde_json::Value;

mod source;

use source::{RustFile, TextFile, root};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const ARCHITECTURE_LINES_MAX: usize = 150;

/// Our crates, and which of our crates each may import, in product code and in tests alike.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("outrigger-snapshot", &[]),
    ("outrigger-outlet", &[]),
    ("outrigger-store", &["outrigger-snapshot"]),
    ("outrigger-certs", &["outrigger-snapshot"]),
    ("outrigger-filters", &["outrigger-snapshot"]),
    (
        "outrigger-proxy",
        &[
            "outrigger-snapshot",
            "outrigger-outlet",
            "outrigger-store",
            "outrigger-certs",
            "outrigger-filters",
        ],
    ),
    ("outrigger-proxy-model", &["outrigger-snapshot", "outrigger-proxy"]),
    (
        "outrigger-control-plane",
        &["outrigger-snapshot", "outrigger-outlet", "outrigger-store", "outrigger-certs"],
    ),
    ("outrigger-integration-tests", &["outrigger-snapshot", "outrigger-store"]),
    ("outrigger-examples", &[]),
];

/// The modules that may hold `unsafe`, each block under a `SAFETY:` comment.
const UNSAFE_MODULES: &[&str] = &["proxy/src/allocator.rs", "proxy/src/opaque/low_water.rs"];

/// The parts of the proxy that may name hyper: the request path's own, and the pages, probes and reports of the control thread.
const HYPER_MODULES: &[&str] = &[
    "proxy/src/http.rs",
    "proxy/src/http/",
    "proxy/src/pool",
    "proxy/src/connect",
    "proxy/src/admin",
    "proxy/src/health_check",
    "proxy/src/report",
];

/// The parts of the proxy that may ask what time of day it is, and only to stamp: starts, applied snapshots, heartbeats.
const WALL_CLOCK_MODULES: &[&str] = &[
    "proxy/src/access_log/line.rs",
    "proxy/src/app/telling.rs",
    "proxy/src/applier.rs",
    "proxy/src/certificates.rs",
    "proxy/src/identity.rs",
    "proxy/src/identity/review.rs",
    "proxy/src/identity/source/ca.rs",
    "proxy/src/identity/source/files.rs",
    "proxy/src/identity/source/workload_api.rs",
    "proxy/src/source.rs",
    "proxy/src/overview.rs",
    "proxy/src/otlp/times.rs",
];

/// Types that tell the time of day.
const CLOCKS: &[&str] = &["SystemTime", "UnixTime"];

/// Endings of type names that say nothing.
const EMPTY_NAMES: &[&str] = &["Manager", "Handler", "Helper", "Util", "Utils", "Globals"];

#[track_caller]
fn assert_none(offences: &[String], rule: &str, reason: &str) {
    let mut report = String::new();
    for offence in offences {
        writeln!(report, "  {offence}").expect("a String takes every write");
    }
    assert!(offences.is_empty(), "\n{rule}\n{report}Why: {reason}\n");
}

fn cargo(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("the cargo that built this test is there");
    assert!(out.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("cargo prints UTF-8")
}

#[test]
fn files_are_small_rooms() {
    let offences: Vec<String> = RustFile::product()
        .iter()
        .filter(|file| file.lines > FILE_LINES_MAX)
        .map(|file| format!("{}:{}: {} lines", file.path, FILE_LINES_MAX + 1, file.lines))
        .collect();
    assert_none(
        &offences,
        &format!("A file has at most {FILE_LINES_MAX} lines."),
        "a longer one has a second subject in it; give that a module of its own.",
    );
}

#[test]
fn functions_fit_on_a_screen() {
    let mut offences = Vec::new();
    for file in RustFile::product() {
        for function in &file.functions {
            if function.lines > FUNCTION_LINES_MAX {
                offences.push(format!(
                    "{}:{}: {} has {} lines",
                    file.path, function.line, function.name, function.lines
                ));
            }
        }
    }
    assert_none(
        &offences,
        &format!("A function has at most {FUNCTION_LINES_MAX} lines."),
        "what does not fit on a screen is not read as one thought.",
    );
}

#[test]
fn modules_name_themselves() {
    let offences: Vec<String> = RustFile::all()
        .iter()
        .filter(|file| file.path.ends_with("/mod.rs"))
        .map(|file| format!("{}:1", file.path))
        .collect();
    assert_none(
        &offences,
        "No mod.rs: `foo.rs` beside `foo/`.",
        "ten open files named mod.rs can't be told apart.",
    );
}

#[test]
fn names_carry_meaning() {
    let mut offences = Vec::new();
    for file in RustFile::product() {
        for function in file.functions.iter().filter(|function| function.name.starts_with("get_")) {
            offences.push(format!("{}:{}: fn {}", file.path, function.line, function.name));
        }
        for (line, name) in &file.types {
            if EMPTY_NAMES.iter().any(|ending| name.ends_with(ending)) {
                offences.push(format!("{}:{line}: {name}", file.path));
            }
        }
    }
    assert_none(
        &offences,
        "No `get_` prefix, no type named Manager, Handler, Helper or Util.",
        "such words fit anything, so they say nothing.",
    );
}

#[test]
fn only_http_pool_and_connect_name_hyper() {
    let mut offences = Vec::new();
    for file in RustFile::product() {
        let outside = file.path.starts_with("proxy/src/")
            && !HYPER_MODULES.iter().any(|allowed| file.path.starts_with(allowed));
        if outside {
            for (line, name) in &file.paths {
                if matches!(name.as_str(), "hyper" | "hyper_util" | "h2") {
                    offences.push(format!("{}:{line}: {name}", file.path));
                }
            }
        }
    }
    assert_none(
        &offences,
        "On the request path only http, pool and connect name hyper.",
        "router, filters and logs work on our own Head, so that the HTTP/1 codec can be replaced behind it.",
    );
}

#[test]
fn the_request_path_does_not_know_the_time_of_day() {
    let mut offences = Vec::new();
    for file in RustFile::product() {
        let ours = ["proxy/src/", "filters/src/"].iter().any(|part| file.path.starts_with(part));
        if ours && !WALL_CLOCK_MODULES.contains(&file.path.as_str()) {
            for (line, name) in file.paths.iter().filter(|(_, name)| CLOCKS.contains(&name.as_str())) {
                offences.push(format!("{}:{line}: {name}", file.path));
            }
        }
    }
    assert_none(
        &offences,
        "In proxy and filters, only what stamps, or looks whether a certificate holds, reads the wall clock.",
        "it jumps; limits of rate, deadlines, ejections and breakers that went by it would jump with it.",
    );
}

#[test]
fn unsafe_stays_in_its_module() {
    let mut offences = Vec::new();
    for file in RustFile::all() {
        let allowed = UNSAFE_MODULES.contains(&file.path.as_str());
        for found in &file.unsafe_uses {
            if !allowed || !found.explained {
                offences.push(format!("{}:{}", file.path, found.line));
            }
        }
    }
    assert_none(
        &offences,
        &format!("`unsafe` only in {UNSAFE_MODULES:?}, each use right under a `// SAFETY:` comment."),
        "what the compiler can't check, a reader must be able to, in one place.",
    );
}

#[test]
fn crates_import_by_the_table() {
    let metadata: Value = serde_json::from_str(&cargo(&[
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--offline",
        "--locked",
    ]))
    .expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut offences = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        let manifest = package["manifest_path"].as_str().expect("a package has a manifest");
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(of, _)| *of == name) else {
            offences.push(format!("{manifest}: {name} has no row in the import table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("a package lists its dependencies") {
            let wanted = dependency["name"].as_str().expect("a dependency has a name");
            if ours.contains(wanted) && !allowed.contains(&wanted) {
                offences.push(format!("{manifest}: {name} imports {wanted}"));
            }
        }
    }
    assert_none(
        &offences,
        "Crates import each other only by the table in this file.",
        "the two planes meet only in the snapshot and its store; else one can't change without the other.",
    );
}

#[test]
fn the_proxy_cannot_write_the_store() {
    let tree = cargo(&[
        "tree",
        "-p",
        "outrigger-proxy",
        "-e",
        "normal",
        "-f",
        "{p};{f}",
        "--prefix=none",
        "--offline",
        "--locked",
    ]);
    let store = tree.lines().find(|line| line.starts_with("outrigger-store "));
    let features = store.and_then(|line| line.rsplit_once(';')).map(|(_, features)| features);
    let offences: Vec<String> = features
        .expect("the proxy reads the store")
        .split(',')
        .filter(|feature| feature.trim_end_matches(" (*)") == "write")
        .map(|feature| format!("proxy/Cargo.toml: outrigger-store/{feature}"))
        .collect();
    assert_none(
        &offences,
        "The proxy builds the store client without its feature `write`.",
        "a sidecar that can't write the store can't damage it, whatever else goes wrong.",
    );
}

#[test]
fn the_contract_is_pure() {
    let tree = cargo(&[
        "tree",
        "-p",
        "outrigger-snapshot",
        "-e",
        "normal",
        "--prefix=none",
        "--offline",
        "--locked",
    ]);
    let offences: Vec<String> = tree
        .lines()
        .filter(|line| {
            let name = line.split(' ').next().unwrap_or_default();
            matches!(name, "tokio" | "hyper" | "rustls" | "socket2" | "mio")
        })
        .map(|line| format!("snapshot/Cargo.toml: {line}"))
        .collect();
    assert_none(
        &offences,
        "outrigger-snapshot pulls in no runtime, no socket and no TLS.",
        "the contract is data and pure functions, so that proxy, control plane and command line run the same code.",
    );
}

#[test]
fn no_machine_is_named() {
    // Put together here, so that this file does not contain them.
    let needles = ["root", "home", "work", "Users"].map(|folder| format!("/{folder}/"));
    let offences: Vec<String> = TextFile::all()
        .iter()
        .flat_map(|file| {
            file.lines_with(&needles).map(|line| format!("{}:{line}", file.path)).collect::<Vec<_>>()
        })
        .collect();
    assert_none(
        &offences,
        "No file names a folder of someone's machine.",
        "it works there and nowhere else, and tells strangers what is none of their business.",
    );
}

#[test]
fn nothing_is_left_unfinished() {
    let needles = ["FIX", "XX", "TO"]
        .iter()
        .zip(["ME", "X", "DO:"])
        .map(|(a, b)| format!("{a}{b}"))
        .chain(["ignore", "should_panic"].map(|attribute| format!("#[{attribute}")))
        .collect::<Vec<_>>();
    let offences: Vec<String> = TextFile::all()
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .flat_map(|file| {
            file.lines_with(&needles).map(|line| format!("{}:{line}", file.path)).collect::<Vec<_>>()
        })
        .collect();
    assert_none(
        &offences,
        "No notes to oneself, no test switched off.",
        "what is not done is left out, and what does not pass is mended.",
    );
}

#[test]
fn the_map_stays_short() {
    let offences: Vec<String> = TextFile::all()
        .iter()
        .filter(|file| {
            file.path == "docs/ARCHITECTURE.md" && file.text.lines().count() > ARCHITECTURE_LINES_MAX
        })
        .map(|file| format!("{}:{}", file.path, ARCHITECTURE_LINES_MAX + 1))
        .collect();
    assert_none(
        &offences,
        &format!("docs/ARCHITECTURE.md has at most {ARCHITECTURE_LINES_MAX} lines."),
        "a map as long as the land is not read.",
    );
}

#[test]
fn links_lead_somewhere() {
    let mut offences = Vec::new();
    for file in TextFile::all().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root().join(&file.path).parent().expect("a file lies in a folder").to_owned();
        for (index, line) in file.text.lines().enumerate() {
            let targets =
                line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
            for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
                let path = target.split('#').next().unwrap_or_default();
                if !folder.join(path).exists() {
                    offences.push(format!("{}:{}: {target}", file.path, index + 1));
                }
            }
        }
    }
    assert_none(
        &offences,
        "A link in a document leads to a file of the checkout.",
        "a page that is promised and missing costs more than one that was never named.",
    );
}
