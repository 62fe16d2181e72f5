//! A writer that is killed, again and again, at whatever it is doing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use outrigger_store::write::keyfile;

use crate::whole::{Acknowledged, check};

const KILLS: u32 = 200;
/// How long a writer goes on at most after the last word that is waited for.
const GRACE_MAX: Duration = Duration::from_millis(8);
/// Words of a writer that are waited for at most before it is killed.
const WORDS_MAX: u32 = 3;

#[test]
fn two_hundred_killed_writers_lose_nothing_that_they_acknowledged() {
    let scratch = tempfile::tempdir().unwrap();
    let key_file = scratch.path().join("key");
    let key = keyfile::create(&key_file).unwrap();
    let trusted = key.public().into();
    let root = scratch.path().join("store");
    let mut acknowledged = Acknowledged::default();
    let mut died_at_work = 0;
    for kill in 0..KILLS {
        // Some die while they start, the others spread evenly over the time between two words.
        let grace = GRACE_MAX * (kill * 73 % KILLS) / KILLS;
        let before = acknowledged.revisions.len();
        run_and_kill(&root, &key_file, kill % (WORDS_MAX + 1), grace, &mut acknowledged);
        died_at_work += u32::from(acknowledged.revisions.len() > before);
        if kill % 50 == 0 {
            check(&root, &trusted, &acknowledged).unwrap();
        }
    }
    check(&root, &trusted, &acknowledged).unwrap();
    assert!(died_at_work > KILLS / 3, "only {died_at_work} of {KILLS} writers got anywhere");
    assert!(!acknowledged.releases.is_empty());
}

fn run_and_kill(root: &Path, key: &Path, words: u32, grace: Duration, acknowledged: &mut Acknowledged) {
    let mut writer = Command::new(env!("CARGO_BIN_EXE_store-writer"))
        .arg("push")
        .args([root, key])
        .arg("1000000")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(writer.stdout.take().unwrap()).lines();
    for _ in 0..words {
        acknowledged.hear(&said.next().expect("the writer ended by itself").unwrap());
    }
    // Where the kill hits is meant to differ: nothing is waited for here.
    std::thread::sleep(grace);
    assert_eq!(writer.try_wait().unwrap(), None, "the writer ended by itself");
    writer.kill().unwrap();
    // What it said before it died was acknowledged, whether or not anyone had read it yet.
    for line in said {
        acknowledged.hear(&line.unwrap());
    }
    writer.wait().unwrap();
}
