use std::collections::VecDeque;
use std::sync::Barrier;

use http::header::{HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use outrigger_snapshot::policy::RateKey;

use super::*;

const S: u64 = 1_000_000_000;

#[test]
fn golden_vectors() {
    // 10 per second, 3 at once: T = 100 ms, τ = 200 ms.
    let law = Gcra::new(10, 1_000, 3);
    let ms = 1_000_000;
    let mut full_ns = 0;
    for (at_ms, expected) in [
        (5_000, Ok(5_100)),
        (5_000, Ok(5_200)),
        (5_000, Ok(5_300)),
        (5_000, Err(100)),
        (5_099, Err(1)),
        (5_100, Ok(5_400)),
        (5_150, Err(50)),
        (5_400, Ok(5_500)),
        (9_000, Ok(9_100)),
        // A clock that goes back takes nothing away and gives nothing.
        (8_900, Ok(9_200)),
        (8_900, Err(100)),
    ] {
        let decided = law.decide(full_ns, at_ms * ms);
        assert_eq!(decided, expected.map(|full| full * ms).map_err(|wait| wait * ms), "at {at_ms} ms");
        full_ns = decided.unwrap_or(full_ns);
    }
}

#[test]
fn extremes_do_not_overflow() {
    for law in [Gcra::new(1, u64::MAX, u32::MAX), Gcra::new(u32::MAX, 1, 1), Gcra::new(0, 0, 0)] {
        for (full_ns, now_ns) in [(0, 0), (u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            let _ = law.decide(full_ns, now_ns);
        }
    }
}

/// In any interval t, at most burst + t / T; and who waits as told is let through.
#[test]
fn no_interval_admits_more_than_the_law_says() {
    let mut context = Context { random: 9, ..Context::default() };
    for _ in 0..200 {
        let (requests, burst) = (1 + context.percent(), 1 + context.percent() % 20);
        let law = Gcra::new(requests, 1_000, burst);
        let (mut now_ns, mut full_ns) = (0, 0);
        let mut admitted = VecDeque::new();
        for _ in 0..300 {
            now_ns += u64::from(context.percent()).pow(2) * 20_000;
            match law.decide(full_ns, now_ns) {
                Ok(next_ns) => {
                    full_ns = next_ns;
                    admitted.push_back(now_ns);
                }
                Err(wait_ns) => assert!(law.decide(full_ns, now_ns + wait_ns).is_ok()),
            }
        }
        for (first, from_ns) in admitted.iter().enumerate() {
            for (last, until_ns) in admitted.iter().enumerate().skip(first) {
                let allowed = u64::from(burst) + (until_ns - from_ns) / law.interval_ns;
                assert!((last - first + 1) as u64 <= allowed, "{requests}/s, {burst} at once");
            }
        }
        assert!(admitted.len() > 1);
    }
}

/// Who asks all the time gets what the law promises, however much of it is refused: one more within each interval and the time between two
/// questions.
#[test]
fn nobody_who_keeps_asking_starves() {
    let mut context = Context { random: 5, ..Context::default() };
    for _ in 0..200 {
        let (requests, burst) = (1 + context.percent(), 1 + context.percent() % 20);
        let law = Gcra::new(requests, 1_000, burst);
        let between_ns = 1 + u64::from(context.percent()) * law.interval_ns / 40;
        let (mut now_ns, mut full_ns, mut admitted, mut last_ns) = (S, 0, 0, S);
        for _ in 0..2_000 {
            match law.decide(full_ns, now_ns) {
                Ok(next_ns) => (full_ns, admitted, last_ns) = (next_ns, admitted + 1, now_ns),
                Err(wait_ns) => assert!(wait_ns <= law.interval_ns, "{requests}/s, {burst} at once"),
            }
            assert!(now_ns - last_ns <= law.interval_ns, "{requests}/s, {burst} at once");
            now_ns += between_ns;
        }
        let elapsed_ns = now_ns - between_ns - S;
        let most = (u64::from(burst) + elapsed_ns / law.interval_ns).min(2_000);
        assert!(admitted <= most, "{requests}/s, {burst} at once: {admitted}");
        // It is as good as the questions allow: each that is admitted came up to one question late.
        let least = elapsed_ns / (law.interval_ns + between_ns);
        assert!(admitted >= least, "{requests}/s, {burst} at once: {admitted} of {least}");
    }
}

/// However many workers ask at the same moment.
#[test]
fn workers_together_admit_what_one_would() {
    const BURST: u32 = 20_000;
    let buckets = Buckets::new(Gcra::new(10, 1_000, BURST));
    for round in 1..=5 {
        // The bucket is full again after two thousand seconds.
        let now_ns = round * 2_000 * S;
        let asked = |ask: &(dyn Fn(u64) -> Result<(), u64> + Sync)| -> usize {
            let start = Barrier::new(4);
            let ask_often = || {
                start.wait();
                (0..BURST / 2).filter(|_| ask(now_ns).is_ok()).count()
            };
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(ask_often)).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            })
        };
        assert_eq!(asked(&|now_ns| buckets.decide_single(now_ns)), BURST as usize);
        assert_eq!(asked(&|now_ns| buckets.decide(7, now_ns)), BURST as usize);
    }
}

fn limit(key: Vec<RateKey>) -> policy::RateLimit {
    policy::RateLimit { name: "calls".into(), requests: 1, period_ms: 1_000, burst: 1, key, global: false }
}

fn head(target: &str, user: Option<&str>) -> RequestHead {
    let field = |user| (HeaderName::from_static("x-user"), HeaderValue::from_str(user).unwrap());
    let headers = HeaderMap::from_iter(user.map(field));
    RequestHead::new(Method::GET, "cart".parse().unwrap(), target.parse().unwrap(), headers)
}

fn at(now_ns: u64, source: &'static str) -> Context {
    Context { now_ns, source: Some(HeaderValue::from_static(source)), ..Context::default() }
}

#[test]
fn each_key_has_its_own_bucket() {
    let mut known = RateLimits::default();
    let requests = [
        ("/a/x", Some("ann"), "::1"),
        ("/b/x", Some("ann"), "::1"),
        ("/a/x", None, "::2"),
        ("/a/x", Some(""), "::3"),
    ];
    for (key, admitted) in [
        (vec![], 1),
        (vec![RateKey::Header("x-user".into())], 3),
        (vec![RateKey::Source], 3),
        (vec![RateKey::PathElement(0)], 2),
        (vec![RateKey::PathElement(1)], 1),
        (vec![RateKey::PathElement(9)], 1),
        (vec![RateKey::PathElement(0), RateKey::Source], 4),
    ] {
        let limiter = known.limiter("rule", 1, &limit(key.clone())).unwrap();
        let filter = RateLimit(limiter.clone());
        let passed = requests
            .iter()
            .filter(|(target, user, source)| filter.on_request(&head(target, *user), &at(S, source)).is_ok());
        assert_eq!(passed.count(), admitted, "{key:?}");
        assert_eq!((limiter.admitted(), limiter.refused()), (admitted as u64, (4 - admitted) as u64));
        let exceeded = filter.on_request(&head("/a/x", Some("ann")), &at(S, "::1")).unwrap_err();
        assert_eq!((exceeded.retry_after_s(), exceeded.period_s()), (1, 1));
        assert!(filter.on_request(&head("/a/x", Some("ann")), &at(2 * S, "::1")).is_ok());
    }
}

#[test]
fn a_flood_of_keys_stays_bounded_and_resets_nobody() {
    let mut known = RateLimits::default();
    let limiter = known.limiter("rule", 1, &limit(vec![RateKey::Header("x-user".into())])).unwrap();
    let filter = RateLimit(limiter.clone());
    let ask = |user: &str, now_ns| filter.on_request(&head("/", Some(user)), &at(now_ns, "::1")).is_ok();
    assert!(ask("attacker", S));
    let admitted = (0..2 * KEYS_MAX).filter(|user| ask(&user.to_string(), S)).count();
    assert!(limiter.keys() <= KEYS_MAX);
    assert!(admitted <= KEYS_MAX + SHARDS, "beyond the bound, all share a bucket: {admitted}");
    assert!(!ask("attacker", S + S / 2), "its bucket is still there");
    assert!(ask("newcomer", 3 * S), "full buckets are forgotten");
    assert!(limiter.keys() < KEYS_MAX);
}

#[test]
fn a_limit_goes_on_while_somebody_holds_it() {
    let mut known = RateLimits::default();
    let held = known.limiter("rule", 1, &limit(vec![])).unwrap();
    assert!(Arc::ptr_eq(&held, &known.limiter("rule", 1, &limit(vec![])).unwrap()));
    assert!(!Arc::ptr_eq(&held, &known.limiter("other", 1, &limit(vec![])).unwrap()));
    known.sweep();
    assert_eq!(known.all().len(), 1);
}
