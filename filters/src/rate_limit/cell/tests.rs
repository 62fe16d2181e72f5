use super::*;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// Where the store's clock stands when the tests' own stands at 0: at the beginning of a window.
const EPOCH: u64 = 1_000 * S;

/// A cell whose clock is the store's, less [`EPOCH`].
struct Rig {
    quota: Quota,
    cell: Cell,
    joined: bool,
}

impl Rig {
    /// Per 10 s.
    fn new(requests: u32, burst: u32) -> Self {
        let quota = Quota::new(requests, 10_000, burst);
        Self { quota, cell: Cell::new(7, EPOCH / quota.period_ns), joined: true }
    }

    fn decide(&mut self, now_ns: u64) -> Decision {
        let look = Look { joined: self.joined, store_ns: EPOCH + now_ns };
        self.cell.decide(&self.quota, look, 100_000, now_ns)
    }

    /// How many of `count` are admitted.
    fn admit(&mut self, count: u64, now_ns: u64) -> u64 {
        (0..count).filter(|_| self.decide(now_ns).outcome.is_ok()).count() as u64
    }

    fn round(&mut self, current: u64, previous: u64, now_ns: u64) -> (u64, u64) {
        let told = self.cell.take().unwrap_or_default();
        self.cell.settle(Answer::Totals { current, previous }, now_ns);
        (told.count, told.late)
    }
}

#[test]
fn the_part_of_the_window_before_that_counts_shrinks() {
    // 100 per 10 s, all of which the window before has had.
    for (at_ms, admitted) in [(0, 0), (1, 1), (100, 1), (101, 2), (1_000, 10), (5_000, 50), (9_999, 100)] {
        let mut rig = Rig::new(100, 100);
        rig.cell.previous.total = 100;
        assert_eq!(rig.admit(200, at_ms * MS), admitted, "after {at_ms} ms");
    }
}

#[test]
fn a_limit_of_one_is_one_in_each_window() {
    let mut rig = Rig::new(1, 1);
    let mut admitted = 0;
    for step in 0..1_000 {
        admitted += rig.admit(1, step * 100 * MS);
        let known = (rig.cell.current.own, rig.cell.previous.own);
        rig.round(known.0, known.1, step * 100 * MS);
    }
    assert_eq!(admitted, 10, "in 100 s");
}

#[test]
fn what_the_store_has_not_confirmed_is_bounded() {
    let mut rig = Rig::new(1_000, 20);
    assert_eq!(rig.quota.unsettled_max, 20);
    assert_eq!(rig.admit(100, 0), 20);
    assert_eq!(rig.decide(0).outcome, Err(SYNC_NS));
    assert_eq!(rig.cell.take(), Some(Told { window: 100, count: 20, late: 0 }));
    assert_eq!(rig.admit(100, MS), 0, "on its way is not confirmed");
    rig.cell.settle(Answer::Totals { current: 500, previous: 0 }, 2 * MS);
    assert_eq!(rig.admit(100, 2 * MS), 20);
    rig.round(990, 0, 3 * MS);
    assert_eq!(rig.admit(100, 3 * MS), 10, "up to the limit");
    // 25 come between two rounds at the sustained rate, though a burst is 1.
    assert_eq!(Quota::new(2_500, 10_000, 1).unsettled_max, 25);
}

#[test]
fn who_waits_as_told_is_admitted() {
    let mut random = crate::context::Context { random: 3, ..Default::default() };
    for _ in 0..3_000 {
        let mut rig = Rig::new(1 + random.percent() % 20, 20);
        rig.cell.previous.total = u64::from(random.percent() % 40);
        rig.cell.current.total = u64::from(random.percent() % 30);
        let now_ns = u64::from(random.percent()) * 100 * MS;
        if let Err(wait_ns) = rig.decide(now_ns).outcome {
            assert!(wait_ns > 0);
            if wait_ns > 1 {
                assert!(rig.decide(now_ns + wait_ns - 1).outcome.is_err(), "{:?}", rig.cell);
            }
            assert_eq!(rig.decide(now_ns + wait_ns).outcome, Ok(()), "{:?}", rig.cell);
        }
    }
}

#[test]
fn late_ones_count_where_they_were_admitted() {
    let mut rig = Rig::new(100, 50);
    assert_eq!(rig.admit(10, 9 * S), 10);
    assert_eq!(rig.admit(3, 11 * S), 3);
    assert_eq!(rig.cell.take(), Some(Told { window: 101, count: 3, late: 10 }));
    assert_eq!(rig.cell.totals(), (3, 10), "on their way, too");
    rig.cell.settle(Answer::Totals { current: 5, previous: 40 }, 11 * S);
    assert_eq!((rig.cell.current.total, rig.cell.previous.total), (5, 40));
    // A round that is answered in the next window.
    rig.admit(2, 12 * S);
    rig.cell.take();
    rig.admit(1, 20 * S);
    assert_eq!(rig.cell.totals(), (1, 7));
    rig.cell.settle(Answer::Totals { current: 30, previous: 40 }, 20 * S);
    assert_eq!(rig.cell.totals(), (1, 30));
    // One that was not counted goes again, as late.
    rig.cell.take();
    rig.admit(1, 30 * S);
    assert!(rig.cell.settle(Answer::Refused, 30 * S));
    assert_eq!(rig.cell.take(), Some(Told { window: 103, count: 1, late: 1 }));
}

#[test]
fn a_lost_answer_counts_once_whatever_the_store_has() {
    for counted in [0, 10] {
        let mut rig = Rig::new(100, 50);
        rig.admit(5, 0);
        rig.round(25, 0, MS);
        rig.admit(10, 2 * MS);
        rig.cell.take();
        assert!(!rig.cell.settle(Answer::Unknown, 3 * MS), "nothing is sent twice");
        assert_eq!(rig.cell.totals().0, 35);
        rig.admit(1, 4 * MS);
        assert_eq!(rig.round(25 + counted + 1, 0, 5 * MS), (1, 0));
        assert_eq!(rig.cell.totals().0, 36, "the store has {counted} of 10");
    }
}

#[test]
fn a_store_that_forgets_is_remembered_for() {
    let mut rig = Rig::new(100, 50);
    rig.admit(20, 0);
    rig.round(80, 0, MS);
    rig.admit(5, 2 * MS);
    // Flushed: there is what came since, 3 of others and these.
    rig.round(8, 0, 3 * MS);
    assert_eq!(rig.cell.totals().0, 85, "what it knew and its own");
    rig.admit(1, 4 * MS);
    rig.round(12, 0, 5 * MS);
    assert_eq!(rig.cell.totals().0, 89, "and what others have counted since");
    assert_eq!(rig.admit(50, 6 * MS), 11);
}

#[test]
fn a_silent_store_leaves_each_proxy_its_last_share() {
    let mut rig = Rig::new(100, 40);
    rig.admit(30, 0);
    rig.round(60, 0, MS);
    rig.joined = false;
    // Half of the burst of 40 at once, then half of 10 per second.
    assert_eq!(rig.decide(2 * MS), Decision { outcome: Ok(()), share_ppm: Some(500_000) });
    assert_eq!(rig.admit(100, 2 * MS), 19);
    assert_eq!(rig.admit(100, 1_002 * MS), 5);
    let admitted: u64 = (0..100).map(|step| rig.admit(9, S + step * 100 * MS)).sum();
    assert!((44..=50).contains(&admitted), "half of 100 in 10 s: {admitted}");
    // Back: everything is told, late or not, and nothing more is admitted before that has been answered.
    rig.joined = true;
    assert_eq!(rig.decide(10_950 * MS).share_ppm, Some(500_000), "it has not been answered yet");
    let (count, late) = rig.round(80, 90, 10_951 * MS);
    assert_eq!(late, rig.cell.previous.own - 30);
    assert_eq!(count, rig.cell.current.own);
    assert_eq!(rig.decide(10_952 * MS).share_ppm, None);
}

#[test]
fn shares_are_taken_from_the_last_whole_window() {
    let mut rig = Rig::new(100, 50);
    rig.admit(1, 0);
    rig.round(50, 0, MS);
    assert_eq!(rig.cell.share_ppm, 20_000);
    rig.admit(19, 9 * S);
    rig.round(70, 0, 9 * S);
    rig.admit(1, 11 * S);
    rig.round(40, 80, 11 * S);
    assert_eq!(rig.cell.share_ppm, 250_000, "20 of 80, and not 1 of 40");
}

#[test]
fn a_key_of_which_nothing_is_known_has_the_whole_limit_while_the_store_is_away() {
    // 100 per 10 s, as from one who asks each second, of one in ten proxies.
    let mut rig = Rig::new(100, 10);
    rig.joined = false;
    assert_eq!(rig.decide(0), Decision { outcome: Ok(()), share_ppm: Some(1_000_000) });
    assert_eq!(rig.admit(20, 0), 9, "the burst");
    let admitted: u64 = (1..=90).map(|step| rig.admit(9, step * 100 * MS)).sum();
    assert_eq!(admitted, 90, "what the limit allows, and no more");
    assert_eq!(rig.admit(9, 9_100 * MS), 0, "100 in a window");
}

#[test]
fn alone_none_admits_more_than_the_limit() {
    let mut rig = Rig::new(10, 1_000);
    rig.admit(10, 0);
    rig.round(10, 0, MS);
    rig.joined = false;
    assert_eq!(rig.decide(MS).outcome, Err(10 * S - MS), "its whole share is used up");
    assert_eq!(rig.admit(100, 10 * S), 10);
}

#[test]
fn a_bucket_that_is_not_answered_goes_on_by_itself() {
    let mut rig = Rig::new(100, 2);
    assert_eq!(rig.admit(9, 0), 2);
    assert_eq!(rig.decide(SLOW_NS).outcome, Err(SYNC_NS));
    let alone = rig.decide(SLOW_NS + 1);
    assert_eq!(alone, Decision { outcome: Ok(()), share_ppm: Some(100_000) });
    assert_eq!(rig.admit(9, SLOW_NS + 1), 1, "the whole burst, as the whole limit has it");
}

#[test]
fn jumps_of_the_stores_clock_are_survived() {
    let mut rig = Rig::new(10, 5);
    rig.admit(4, 5 * S);
    rig.round(8, 0, 5 * S);
    rig.admit(1, 5 * S);
    let jump = |rig: &mut Rig, store_ns: u64| {
        let look = Look { joined: true, store_ns };
        rig.cell.decide(&rig.quota, look, 1, 5 * S + MS).outcome
    };
    // Back over a border: it waits there.
    assert_eq!(jump(&mut rig, EPOCH - MS), Ok(()));
    assert_eq!((rig.cell.window, rig.cell.totals().0), (100, 10));
    assert!(jump(&mut rig, EPOCH - MS).is_err());
    // An hour, either way: begins anew, and tells what was just admitted.
    for store_ns in [EPOCH - 500 * S, EPOCH + 3_600 * S, 0, u64::MAX] {
        assert_eq!(jump(&mut rig, store_ns), Ok(()), "{store_ns}");
        let window = store_ns / rig.quota.period_ns;
        assert_eq!(rig.cell.take().map(|told| told.window), Some(window));
        rig.cell.settle(Answer::Refused, 5 * S + MS);
        rig.cell.current.pending = 1;
    }
}

#[test]
fn extremes_do_not_overflow() {
    for (requests, period_ms, burst) in [(0, 0, 0), (1, u64::MAX, u32::MAX), (u32::MAX, 1, 1)] {
        let quota = Quota::new(requests, period_ms, burst);
        let mut cell = Cell::new(0, 0);
        for (total, at_ns) in [(0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0), (1, u64::MAX / 2)] {
            for joined in [true, false] {
                let look = Look { joined, store_ns: at_ns };
                let _ = cell.decide(&quota, look, 0, at_ns);
                let _ = cell.take();
                cell.settle(Answer::Totals { current: total, previous: total }, at_ns);
            }
        }
    }
}

#[test]
fn it_is_forgotten_only_when_that_changes_nothing() {
    let mut rig = Rig::new(100, 50);
    rig.admit(1, 0);
    assert!(!rig.cell.is_forgettable(200, 60 * S), "the store does not know of it");
    rig.round(1, 0, MS);
    assert!(!rig.cell.is_forgettable(101, 60 * S), "it counts in the next window");
    assert!(rig.cell.is_forgettable(102, 60 * S));
    rig.joined = false;
    rig.admit(1, MS);
    rig.round(1, 0, MS);
    assert!(!rig.cell.is_forgettable(102, 2 * MS), "its bucket is not full");
}
