//! The production balancer against a simulated cluster, held to tables of an independent simulation.
//!
//! An ordinary run looks at a part of the cells; `OUTRIGGER_BALANCE_TABLES=1` at all of them, for which `--cargo-profile quick` is the
//! faster way. Everything is a function of the seed.

mod simulation;
mod tables;

use outrigger_snapshot::policy::Balance;

use simulation::{SECOND, Scene, Servers, Work, scene};
use tables::{Cell, Expected, UNKNOWN, bimodal, check, even, for_clients, of_a_hundred, of_ten};

/// What queueing theory says of four workers at Poisson arrivals and exponential work (Erlang's C), so that the rest says something.
#[test]
fn the_model_agrees_with_theory() {
    let cells = [(0.7, Expected(10.3, 54.9, 0.0), true), (0.9, Expected(22.5, 121.9, 0.0), false)];
    for (load, Expected(p50, p99, _), always) in cells {
        let scene = Scene {
            load,
            servers: Servers::Even,
            work: Work::Exponential,
            network: 0,
            deadline: 100 * SECOND,
            end: 200 * SECOND,
            ..scene(Balance::Random)
        };
        if !(always || tables::whole()) {
            continue;
        }
        let found = scene.outlook(1);
        println!("{found:?}");
        assert!((found.p50 / p50 - 1.0).abs() < 0.03 && (found.p99 / p99 - 1.0).abs() < 0.05, "{found:?}");
    }
}

/// At 90 % and more, its median tells nothing: nearly half of the ten servers drown, and in the other simulation, too, runs differ by a factor
/// of two.
#[test]
fn random_collapses_on_one_slow_server() {
    let of_ten_expected = [
        Expected(15.4, 1000.0, 14.1),
        Expected(19.0, 1000.0, 20.9),
        Expected(UNKNOWN, 1000.0, 26.4),
        Expected(UNKNOWN, 1000.0, 31.0),
    ];
    check(of_ten(&Balance::Random, of_ten_expected));
    let of_a_hundred_expected = [
        Expected(13.0, 1000.0, 10.7),
        Expected(19.0, 1000.0, 15.2),
        Expected(29.0, 1000.0, 25.2),
        Expected(42.0, 1000.0, 28.6),
    ];
    check(of_a_hundred(&Balance::Random, of_a_hundred_expected));
}

/// Medians as above; the one at 80 % is of six runs of the other simulation.
#[test]
fn round_robin_collapses_on_one_slow_server() {
    let of_ten_expected = [
        Expected(12.5, 1000.0, 15.6),
        Expected(16.5, 1000.0, 22.6),
        Expected(UNKNOWN, 1000.0, 28.1),
        Expected(UNKNOWN, 1000.0, 33.5),
    ];
    check(of_ten(&Balance::RoundRobin, of_ten_expected));
    let of_a_hundred_expected = [
        Expected(11.0, 1000.0, 13.0),
        Expected(16.0, 1000.0, 16.5),
        Expected(21.0, 1000.0, 28.4),
        Expected(28.0, 1000.0, 31.9),
    ];
    check(of_a_hundred(&Balance::RoundRobin, of_a_hundred_expected));
}

#[test]
fn least_request_copes_with_one_slow_server() {
    let expected = [(10.2, 139.0), (12.3, 148.0), (17.5, 176.0), (26.6, 218.0)];
    check(of_ten(&Balance::LeastRequest, expected.map(|(p50, p99)| Expected(p50, p99, 0.0))));
}

#[test]
fn peak_ewma_halves_its_tail() {
    let expected = [(9.4, 65.0), (11.2, 71.0), (15.4, 85.0), (23.1, 106.0)];
    check(of_ten(&Balance::PeakEwma, expected.map(|(p50, p99)| Expected(p50, p99, 0.0))));
}

#[test]
fn least_request_copes_with_one_slow_server_of_a_hundred() {
    let expected = [(9.7, 74.0), (11.4, 83.0), (15.6, 100.0), (20.1, 115.0)];
    check(of_a_hundred(&Balance::LeastRequest, expected.map(|(p50, p99)| Expected(p50, p99, 0.0))));
}

#[test]
fn peak_ewma_loses_nothing_among_a_hundred() {
    let expected = [(8.9, 58.0), (10.3, 61.0), (13.5, 68.0), (17.1, 76.0)];
    check(of_a_hundred(&Balance::PeakEwma, expected.map(|(p50, p99)| Expected(p50, p99, 0.0))));
}

/// With few requests in flight per client, what is in flight says little; latency still does.
#[test]
fn least_request_goes_blind_where_clients_are_many() {
    check(for_clients(
        &Balance::LeastRequest,
        [(1, 68.0, 0.0), (10, 137.0, 0.0), (50, 366.0, 0.0), (200, 998.0, 0.98)],
    ));
}

#[test]
fn peak_ewma_sees_where_clients_are_many() {
    check(for_clients(
        &Balance::PeakEwma,
        [(1, 61.0, 0.0), (10, 68.0, 0.0), (50, 78.0, 0.0), (200, 100.0, 0.0)],
    ));
}

#[test]
fn work_of_two_kinds_is_no_trouble() {
    let least_request = bimodal(&Balance::LeastRequest, [182.0, 280.0]);
    let peak_ewma = bimodal(&Balance::PeakEwma, [138.0, 177.0]);
    check(least_request.into_iter().chain(peak_ewma).collect());
}

/// Where there is nothing to detect, detecting costs next to nothing. What chance comes to is theory's, as above: runs of two minutes differ by a
/// quarter.
#[test]
fn among_equals_peak_ewma_is_as_good_as_least_request() {
    let expected = [
        (Balance::Random, 236.0),
        (Balance::RoundRobin, 136.0),
        (Balance::LeastRequest, 66.0),
        (Balance::PeakEwma, 67.0),
    ];
    check(expected.into_iter().map(|(balance, p99)| even(balance, p99)).collect::<Vec<Cell>>());
}

/// One of ten fails fast. Ejection keeps it from drawing more than one request in a thousand, whatever the method; so does the latency that a
/// failure counts for, where latency counts. What is in flight alone draws requests in, and chance and turns go on sending it its part.
#[test]
fn a_server_that_fails_fast_draws_no_traffic() {
    for (balance, without) in [
        (Balance::PeakEwma, 0.0..=0.001),
        (Balance::LeastRequest, 0.114..=0.140),
        (Balance::Random, 0.098..=0.102),
        (Balance::RoundRobin, 0.098..=0.102),
    ] {
        let run = |ejects| {
            let scene = Scene { servers: Servers::OneFailing, ejects, ..scene(balance.clone()) };
            let found = scene.outlook(if tables::whole() { 4 } else { 1 });
            println!("{balance:?}, ejects {ejects}: {:.5} sunk, {:.5} failed", found.sunk, found.errors);
            found
        };
        let (with, alone) = (run(true), run(false));
        assert!(with.sunk <= 0.001, "{balance:?}: {with:?}");
        assert!(without.contains(&alone.sunk), "{balance:?} without ejection: {alone:?}");
        // By chance and in turn, servers that are slow by nature get more than they can do: those requests are late, whoever else fails.
        if !tables::is_blind(&balance) {
            assert!(with.errors <= 0.001, "{balance:?}: {with:?}");
        }
    }
}

/// Requests that fail wherever they go say nothing about those who answered them. One in a thousand is the worst case: more of them and all servers
/// are thought ill of alike.
#[test]
fn failures_that_are_nobodys_fault_cost_little() {
    let run =
        |doomed| Scene { servers: Servers::Even, load: 0.8, doomed, ..scene(Balance::PeakEwma) }.outlook(1);
    let (none, some) = (run(0.0), run(1.0));
    println!("p50 {:.1} -> {:.1}, p99 {:.1} -> {:.1}", none.p50, some.p50, none.p99, some.p99);
    assert!(some.p99 <= 1.3 * none.p99 && some.p50 <= 1.3 * none.p50, "{some:?} against {none:?}");
}
