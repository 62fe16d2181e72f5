use super::*;

const S: u64 = 1_000_000_000;

/// One look, 100 ms after the one before: `rate` answers per second, each after `latency_s`, all sent 50 ms ago.
fn look(limit: &mut AdaptiveLimit, now_ns: u64, rate: f64, latency_s: f64, in_flight: f64) -> bool {
    let answers = (rate / 10.0) as usize;
    let mut samples = vec![Sample { sent_ns: now_ns - 50_000_000, latency_s }; answers];
    limit.look(&mut Observed {
        now_ns,
        elapsed_ns: TICK_NS,
        in_flight_mean: in_flight,
        in_flight: in_flight as u32,
        answers: answers as u64,
        refused: false,
        samples: &mut samples,
    })
}

#[test]
fn too_few_answers_decide_nothing() {
    let mut limit = AdaptiveLimit::new(1.5);
    assert!(!look(&mut limit, S, 190.0, 0.030, 5.0));
    assert_eq!((limit.limit(), limit.reading()), (IDLE, Reading::default()));
    assert!(look(&mut limit, S, 200.0, 0.030, 5.0));
    assert_eq!(limit.limit().round(), 45.0, "five times the nine of Little's law");
}

#[test]
fn slow_traffic_leaves_the_rule_idle() {
    let mut limit = AdaptiveLimit::new(1.5);
    assert!(look(&mut limit, S, 1_000.0, 0.030, 30.0));
    let mut samples = [Sample { sent_ns: S, latency_s: 9.0 }; 9];
    let mut observed = Observed {
        now_ns: 2 * S,
        elapsed_ns: S,
        in_flight_mean: 80.0,
        in_flight: 80,
        answers: 9,
        refused: true,
        samples: &mut samples,
    };
    assert!(limit.look(&mut observed));
    assert_eq!((limit.limit(), limit.in_episode()), (IDLE, false));
}

#[test]
fn a_queue_in_the_application_is_cut_and_a_slow_dependency_is_not() {
    for (latency_after_s, elastic) in [(0.030, true), (0.120, false)] {
        let mut limit = AdaptiveLimit::new(1.5);
        let mut now_ns = S;
        let mut step = |limit: &mut AdaptiveLimit, latency_s: f64, in_flight: f64| {
            now_ns += TICK_NS;
            assert!(look(limit, now_ns, 1_000.0, latency_s, in_flight));
        };
        for _ in 0..20 {
            step(&mut limit, 0.030, 30.0);
        }
        assert_eq!(limit.limit(), 5.0 * 1.5 * 30.0);
        step(&mut limit, 0.120, 120.0);
        assert!(limit.in_episode(), "four times the normal is beyond doubt at once");
        assert_eq!(limit.limit().round(), 45.0);
        step(&mut limit, 0.120, 45.0);
        step(&mut limit, latency_after_s, 45.0);
        assert_eq!(limit.in_episode(), elastic);
        let rebased = if elastic { 0.030 } else { 0.120 };
        assert!((limit.limit() > 500.0) != elastic, "{}", limit.limit());
        step(&mut limit, latency_after_s, 40.0);
        assert!((limit.reading().baseline_s - rebased).abs() < 0.001);
    }
}

/// A step of the load: what is answered now came before it, and is as fast as ever.
#[test]
fn a_queue_that_grows_is_cut_before_latencies_tell() {
    for (in_flight, answers, cut) in [
        (200, 30, true),
        (80, 30, false),
        // Fewer answers than usual: something else has become slow.
        (200, 20, false),
    ] {
        let mut limit = AdaptiveLimit::new(1.5);
        for tick in 0..20 {
            assert!(look(&mut limit, S + tick * TICK_NS, 1_000.0, 0.030, 30.0));
        }
        let now_ns = 4 * S;
        let looked = limit.look(&mut Observed {
            now_ns,
            elapsed_ns: EARLY_TICK_NS,
            in_flight_mean: 100.0,
            in_flight,
            answers,
            refused: false,
            samples: &mut vec![Sample { sent_ns: now_ns - TICK_NS, latency_s: 0.030 }; answers as usize],
        });
        assert_eq!((looked, limit.in_episode()), (cut, cut), "{in_flight} in flight, {answers} answers");
        assert_eq!(limit.limit() < 60.0, cut);
    }
}

#[test]
fn only_what_was_sent_after_the_cut_is_judged() {
    let mut limit = AdaptiveLimit::new(1.5);
    for tick in 0..20 {
        assert!(look(&mut limit, S + tick * TICK_NS, 1_000.0, 0.030, 30.0));
    }
    let mut now_ns = 4 * S;
    assert!(look(&mut limit, now_ns, 1_000.0, 0.300, 300.0));
    for _ in 0..5 {
        now_ns += TICK_NS;
        // Answered now, but sent into the queue of before: as slow as ever, although concurrency is down.
        let mut samples = vec![Sample { sent_ns: now_ns - S, latency_s: 0.300 }; 100];
        let mut observed = Observed {
            now_ns,
            elapsed_ns: TICK_NS,
            in_flight_mean: 40.0,
            in_flight: 40,
            answers: 100,
            refused: true,
            samples: &mut samples,
        };
        assert!(limit.look(&mut observed));
        assert!(limit.in_episode() && limit.reading().rebaselines == 0);
    }
}

#[test]
fn an_episode_ends_once_it_is_quiet() {
    let mut limit = AdaptiveLimit::new(1.5);
    let mut now_ns = S;
    let mut step = |limit: &mut AdaptiveLimit, latency_s: f64, in_flight: f64| {
        now_ns += TICK_NS;
        assert!(look(limit, now_ns, 1_000.0, latency_s, in_flight));
    };
    for _ in 0..20 {
        step(&mut limit, 0.030, 30.0);
    }
    step(&mut limit, 0.120, 120.0);
    for _ in 0..QUIET_TICKS {
        assert!(limit.in_episode());
        step(&mut limit, 0.030, 10.0);
    }
    assert!(!limit.in_episode());
}

#[test]
fn microseconds_more_are_no_excess() {
    let mut limit = AdaptiveLimit::new(1.5);
    for tick in 0..50 {
        let latency_s = if tick % 2 == 0 { 0.000_2 } else { 0.001_5 };
        assert!(look(&mut limit, S + tick * TICK_NS, 1_000.0, latency_s, 40.0));
        assert!(!limit.in_episode());
    }
}

#[test]
fn any_observation_leaves_a_limit_in_bounds() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut limit = AdaptiveLimit::new(1.5);
    for tick in 0..5_000_u64 {
        let scale = 10_f64.powf(random.f64() * 8.0 - 6.0);
        let in_flight = random.u32(..) as f64 * if random.bool() { 1.0 } else { 1e-7 };
        look(&mut limit, S + tick * TICK_NS, random.f64() * 20_000.0, scale, in_flight);
        let value = limit.limit();
        assert!(value.is_finite() && (LIMIT_MIN / 2.0..=f64::from(u32::MAX)).contains(&value), "{value}");
    }
}
