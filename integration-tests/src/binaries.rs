//! Where the programs under test are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `outrigger-proxy`.
pub fn proxy() -> PathBuf {
    folder().join("outrigger-proxy")
}

/// `outrigger-control-plane`.
pub fn control_plane() -> PathBuf {
    folder().join("outrigger-control-plane")
}

/// `outrigger`.
pub fn outrigger() -> PathBuf {
    folder().join("outrigger")
}

/// A program that `.ci/emulators` installs below `target/tools`; `OUTRIGGER_TEST_TOOLS` names another place.
pub fn tool(relative: &str) -> PathBuf {
    let tools = env::var_os("OUTRIGGER_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools"), PathBuf::from);
    let path = tools.join(relative);
    assert!(path.exists(), "{} is not installed; run .ci/emulators", path.display());
    path
}

/// `$OUTRIGGER_BIN_DIR`, or the folder of a build made here: the profile that people run, not that of the tests.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match env::var_os("OUTRIGGER_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => build(),
    })
}

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a workspace");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--profile", "quick", "-p", "outrigger-proxy", "-p", "outrigger-control-plane"])
        .current_dir(root)
        .status()
        .expect("the cargo that built the harness is there");
    assert!(built.success(), "the programs under test do not build");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("quick")
}
