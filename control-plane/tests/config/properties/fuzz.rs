//! Random damage to right meshes, as often as wanted: `OUTRIGGER_FUZZ_RUNS=1000000`, and `OUTRIGGER_FUZZ_SEED` to begin elsewhere.

use super::{exercise, mesh, yaml};

/// Texts tried in every ordinary run of the tests.
const RUNS: u64 = 3_000;

/// Words that mean something to the parser, and values just outside what fields take.
const WORDS: [&str; 40] = [
    "null",
    "~",
    "true",
    "0",
    "-1",
    "65536",
    "99999999999999999999",
    "1.5",
    "0x50",
    ".inf",
    "\"\"",
    "''",
    "\"\\u0000\"",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x ",
    "---\n",
    "...\n",
    "? ",
    ": ",
    "- ",
    "|\n ",
    ">-\n ",
    "%YAML 1.2\n",
    "# ",
    "\u{feff}",
    "default",
    "shop/s1",
    "s0",
    "http",
    "80",
    "HTTP",
    "TCP",
    "{}",
    "[]",
    "RequestRedirect",
    "0s",
    "/a//b",
];

#[test]
fn damage_never_makes_it_panic() {
    let setting =
        |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (runs, seed) = (setting("OUTRIGGER_FUZZ_RUNS", RUNS), setting("OUTRIGGER_FUZZ_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut accepted = 0_u64;
    for run in 0..runs {
        let dice: Vec<u8> = (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
        let mut bytes = yaml(&mesh(&dice)).into_bytes();
        for _ in 0..random.usize(0..6) {
            damage(&mut bytes, &mut random);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let outcome = std::panic::catch_unwind(|| exercise(&bytes));
        accepted +=
            u64::from(outcome.unwrap_or_else(|_| panic!("run {run} of seed {seed} panicked on\n{text}")));
    }
    // Damage that always ends in a refusal would leave the compiler untried.
    assert!(accepted * 20 > runs, "{accepted} of {runs} texts were accepted");
    println!("{runs} texts, {accepted} accepted");
}

fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let place = random.usize(0..=bytes.len());
    let word = WORDS[random.usize(..WORDS.len())].as_bytes();
    match random.u8(0..7) {
        0 if place < bytes.len() => bytes[place] = random.u8(..),
        1 if place < bytes.len() => drop(bytes.remove(place)),
        2 => drop(bytes.splice(place..place, word.iter().copied())),
        3 => replace_value(bytes, place, word),
        4 => {
            let end = (place + random.usize(0..80)).min(bytes.len());
            drop(bytes.drain(place..end));
        }
        5 => {
            let end = (place + random.usize(0..200)).min(bytes.len());
            let copy = bytes[place..end].to_vec();
            let target = random.usize(0..=bytes.len());
            drop(bytes.splice(target..target, copy));
        }
        _ => bytes.truncate(bytes.len() - random.usize(0..=bytes.len().min(30))),
    }
}

/// Puts a word in the place of the value in a line.
fn replace_value(bytes: &mut Vec<u8>, place: usize, word: &[u8]) {
    let Some(colon) = bytes[place..].windows(2).position(|pair| pair == b": ") else { return };
    let start = place + colon + 2;
    let end =
        bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| start + length);
    drop(bytes.splice(start..end, word.iter().copied()));
}
