//! A store in which two writers could overwrite each other is used only by who says that there is one.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use outrigger_integration_tests::mesh::{program, said};
use outrigger_integration_tests::process::finished;
use outrigger_integration_tests::{Mesh, Process, binaries};

use crate::emulators::{Emulator, s3rver};

const DEADLINE: Duration = Duration::from_secs(60);
const SERVICE: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {name: shop}\nspec:\n  \
                       ports: [{name: http, port: 80, protocol: HTTP}]\n  endpoints: {static: [{address: '127.0.0.1:9'}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_the_condition_needs_single_writer_of_every_writer() {
    let emulator = s3rver().await;
    let mesh = Mesh::new();
    let key = mesh.folder().join("mesh.key");
    let url = emulator.url("mesh");
    let make = mesh.outrigger([OsStr::new("keys"), OsStr::new("new"), key.as_os_str()]);
    assert!(make.status.success(), "{}", said(&make));
    let writer = |path: PathBuf, words: &[&str], more: &[&str]| {
        let mut command = with_store(&emulator, path, words, &url);
        command.arg("--signing-key").arg(&key).args(more);
        command
    };
    let refuses = async |command: Command, code: i32| {
        let out = finished(command, DEADLINE).await;
        assert_eq!(out.status.code(), Some(code), "{}", said(&out));
        assert!(said(&out).contains("--single-writer") && said(&out).contains(&url), "{}", said(&out));
    };
    let succeeds = async |command: Command| {
        let out = finished(command, DEADLINE).await;
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        said(&out)
    };
    let init = |more: &[&str]| writer(binaries::outrigger(), &["store", "init"], more);
    refuses(init(&[]), 1).await;
    // Refused before anything was made: it can still be made.
    assert!(succeeds(init(&["--single-writer"])).await.contains("mesh "));

    let file = mesh.file(SERVICE).display().to_string();
    let publish = |more: &[&str]| writer(binaries::outrigger(), &["publish", "-f", &file], more);
    refuses(publish(&[]), 1).await;
    assert!(succeeds(publish(&["--single-writer"])).await.contains("release 1 published"));

    let state = mesh.state("one").display().to_string();
    let serve = |more: &[&str]| {
        let mut command = writer(binaries::control_plane(), &[], more);
        command.args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--state-dir", &state]);
        command
    };
    refuses(serve(&[]), 3).await;
    let mut process =
        Process::start("control plane", &mut serve(&["--single-writer", "--interval", "100ms"]));
    process.listening("--listen").await;
    process.says("ignores create-if-absent").await;
}

/// A program with its first words and a store that it can reach.
fn with_store(emulator: &Emulator, path: PathBuf, words: &[&str], url: &str) -> Command {
    let mut command = program(path);
    emulator.introduce_to(&mut command);
    command.args(words).args(["--store", url]);
    command
}
