use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn settings(percent: u32, floor_per_1000_s: u32, peers: u32) -> BudgetSettings {
    BudgetSettings::new(&RetryBudget { percent, window_ms: 10_000, floor_per_1000_s }, peers)
}

#[test]
fn a_tenth_of_the_requests_of_the_window_and_no_more() {
    let (budget, settings) = (Budget::default(), settings(10, 0, 1));
    for _ in 0..1_000 {
        budget.deposit(&settings, SECOND);
    }
    let granted = (0..1_000).filter(|_| budget.withdraw(&settings, 2 * SECOND)).count();
    assert_eq!((granted, budget.balance(&settings, 2 * SECOND)), (100, 0));
    assert!(!budget.withdraw(&settings, 12 * SECOND), "the requests are forgotten");
}

#[test]
fn hedges_have_a_share_of_their_own_within_that_of_retries() {
    for (percent, granted_hedges, granted_retries) in [(5, 50, 50), (50, 100, 0)] {
        let (budget, settings) = (Budget::default(), settings(10, 0, 1));
        for _ in 0..1_000 {
            budget.deposit(&settings, SECOND);
        }
        let hedges = (0..1_000).filter(|_| budget.withdraw_hedge(&settings, percent, 2 * SECOND)).count();
        let retries = (0..1_000).filter(|_| budget.withdraw(&settings, 2 * SECOND)).count();
        assert_eq!((hedges, retries), (granted_hedges, granted_retries));
        assert!(!budget.withdraw_hedge(&settings, percent, 2 * SECOND));
    }
}

#[test]
fn part_of_a_retried_request_has_half_the_share_and_no_floor() {
    let (budget, whole) = (Budget::default(), settings(5, 1_000, 1));
    for _ in 0..1_000 {
        budget.deposit(&whole, SECOND);
    }
    let granted = |settings| (0..1_000).filter(|_| budget.withdraw(settings, SECOND)).count();
    assert_eq!((granted(&whole.halved()), granted(&whole)), (25, 25 + 10));
}

#[test]
fn a_quiet_client_has_its_part_of_the_floor() {
    let (budget, settings) = (Budget::default(), settings(10, 1_000, 16));
    let granted: Vec<u64> =
        (0..64).map(|second| second * SECOND).filter(|now_ns| budget.withdraw(&settings, *now_ns)).collect();
    assert_eq!(granted, [0, 16, 32, 48].map(|second| second * SECOND));
}

#[test]
fn the_floor_of_a_single_client_gathers_for_the_window() {
    let (budget, settings) = (Budget::default(), settings(0, 1_000, 1));
    let burst = |now_ns| (0..100).filter(|_| budget.withdraw(&settings, now_ns)).count();
    assert_eq!((burst(0), burst(3 * SECOND), burst(100 * SECOND)), (10, 3, 10));
}

/// RT-1: everything fails at 1,000 requests per second for 30 s, each failure asks for as many retries as it may.
#[test]
fn attempts_per_request_stay_near_one_and_a_tenth() {
    let (budget, settings) = (Budget::default(), settings(10, 1_000, 16));
    let mut attempts = 0;
    for request in 10_000..30_000_u64 {
        let now_ns = request * SECOND / 1_000;
        budget.deposit(&settings, now_ns);
        attempts += 1 + (0..2).take_while(|_| budget.withdraw(&settings, now_ns)).count();
    }
    let ratio = attempts as f64 / 20_000.0;
    assert!((1.09..=1.12).contains(&ratio), "{ratio}");
}

proptest! {
    #[test]
    fn never_more_than_the_share_and_the_floor(
        steps in prop::collection::vec((0..2_000_000_000_u64, 0..20_u32, 0..20_u32), 1..200),
        percent in 0..=100_u32,
        floor in 0..5_000_u32,
    ) {
        let (budget, settings) = (Budget::default(), settings(percent, floor, 1));
        let (mut now_ns, mut requests, mut granted) = (0, 0_u64, 0_u64);
        for (wait_ns, sent, asked) in steps {
            now_ns += wait_ns;
            for _ in 0..sent {
                budget.deposit(&settings, now_ns);
                requests += 1;
            }
            granted += (0..asked).filter(|_| budget.withdraw(&settings, now_ns)).count() as u64;
        }
        let floor = f64::from(floor) / 1_000.0 * (now_ns as f64 / 1e9 + 10.0) + 1.0;
        let most = requests as f64 * f64::from(percent) / 100.0 + floor;
        prop_assert!(granted as f64 <= most, "{} of {}", granted, most);
    }
}
