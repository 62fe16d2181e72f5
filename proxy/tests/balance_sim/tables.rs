//! What an independent simulation of the published algorithms found, and how the production balancer is held to it.
//!
//! That simulation shares no line with this one: it has its own event loop and its own textbook balancers, without ejection. So there is no
//! ejection here either where requests time out: the product would take the overloaded servers out. Elsewhere the product's defaults hold, and
//! make no difference.

use std::env;
use std::fmt::Write;

use outrigger_snapshot::policy::Balance;

use super::simulation::{SECOND, Scene, Servers, Work, scene};

/// Tolerances of the median and of the 99th percentile.
const P50: f64 = 0.10;
const P99: f64 = 0.15;
/// Of the share of errors, or so many points of per cent where it is small, or none to speak of.
const ERRORS: f64 = 0.15;
const ERRORS_POINTS: f64 = 0.3;
const ERRORS_NONE: f64 = 0.1;
/// So many times more runs go into a mean where the whole table is asked for: it is the high loads whose runs differ.
const SEEDS_MORE: u64 = 3;
const LOADS: [f64; 4] = [0.7, 0.8, 0.9, 0.95];

/// A median that is not known.
pub(crate) const UNKNOWN: f64 = 0.0;

/// Median and 99th percentile in milliseconds, errors per cent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected(pub(crate) f64, pub(crate) f64, pub(crate) f64);

pub(crate) struct Cell {
    pub(crate) scene: Scene,
    pub(crate) expected: Expected,
    pub(crate) seeds: u64,
    /// Whether it is looked at in every run of the tests, not just when the whole table is asked for.
    pub(crate) always: bool,
}

/// Every cell is looked at, not just the part that fits into an ordinary run of the tests.
pub(crate) fn whole() -> bool {
    env::var_os("OUTRIGGER_BALANCE_TABLES").is_some()
}

/// Runs the cells and holds them to what is expected.
#[track_caller]
pub(crate) fn check(cells: Vec<Cell>) {
    let mut outside = String::new();
    for Cell { scene, expected: Expected(p50, p99, errors), seeds, .. } in
        cells.into_iter().filter(|cell| cell.always || whole())
    {
        let found = scene.outlook(if whole() { SEEDS_MORE * seeds } else { seeds });
        let percent = 100.0 * found.errors;
        let line = format!(
            "{:?} of {} for {} at {}: p50 {:.1} ({p50}), p99 {:.1} ({p99}), p99.9 {:.1}, errors {percent:.3} % ({errors})",
            scene.balance, scene.count, scene.clients, scene.load, found.p50, found.p99, found.p999,
        );
        println!("{line}");
        let as_often = if errors > 0.0 {
            near(percent, errors, ERRORS) || (percent - errors).abs() < ERRORS_POINTS
        } else {
            percent < ERRORS_NONE
        };
        if !((p50 == UNKNOWN || near(found.p50, p50, P50)) && near(found.p99, p99, P99) && as_often) {
            writeln!(outside, "{line}").expect("a String takes every write");
        }
    }
    assert!(outside.is_empty(), "outside (expected):\n{outside}");
}

fn near(found: f64, expected: f64, tolerance: f64) -> bool {
    (found / expected - 1.0).abs() <= tolerance
}

/// Ten servers, at four loads.
pub(crate) fn of_ten(balance: &Balance, expected: [Expected; 4]) -> Vec<Cell> {
    let cells = LOADS.into_iter().zip(expected);
    cells
        .map(|(load, expected)| Cell {
            scene: Scene { load, ejects: !is_blind(balance), ..scene(balance.clone()) },
            expected,
            seeds: 2,
            always: true,
        })
        .collect()
}

/// A hundred servers, at four loads.
pub(crate) fn of_a_hundred(balance: &Balance, expected: [Expected; 4]) -> Vec<Cell> {
    let mut cells = of_ten(balance, expected);
    for cell in &mut cells {
        (cell.scene.count, cell.scene.end) = (100, 50 * SECOND);
        (cell.seeds, cell.always) = (1, !is_blind(balance) && cell.scene.load == 0.9);
    }
    cells
}

/// Twenty servers at 85 %, and so many clients.
pub(crate) fn for_clients(balance: &Balance, expected: [(usize, f64, f64); 4]) -> Vec<Cell> {
    let cells = expected.into_iter();
    cells
        .map(|(clients, p99, errors)| Cell {
            scene: Scene { clients, count: 20, load: 0.85, ejects: false, ..scene(balance.clone()) },
            expected: Expected(UNKNOWN, p99, errors),
            seeds: 1,
            always: clients == if *balance == Balance::PeakEwma { 50 } else { 200 },
        })
        .collect()
}

/// Ten servers, and one request in twenty takes 21 times as long.
pub(crate) fn bimodal(balance: &Balance, p99: [f64; 2]) -> Vec<Cell> {
    let cells = [0.7, 0.9].into_iter().zip(p99);
    cells
        .map(|(load, p99)| Cell {
            scene: Scene { load, work: Work::Bimodal, ..scene(balance.clone()) },
            expected: Expected(UNKNOWN, p99, 0.0),
            seeds: 2,
            always: load == 0.7,
        })
        .collect()
}

/// Ten servers that are all alike, at 95 %.
pub(crate) fn even(balance: Balance, p99: f64) -> Cell {
    // At 95 % it takes many runs to tell how bad it is.
    let random = balance == Balance::Random;
    Cell {
        scene: Scene { load: 0.95, servers: Servers::Even, ..scene(balance) },
        expected: Expected(UNKNOWN, p99, 0.0),
        seeds: 2,
        always: !random,
    }
}

/// Whether it looks neither at what is in flight nor at latency.
pub(crate) fn is_blind(balance: &Balance) -> bool {
    matches!(balance, Balance::Random | Balance::RoundRobin)
}
