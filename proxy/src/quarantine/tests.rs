use proptest::prelude::*;

use super::*;

fn digest(name: u8) -> Digest {
    Digest::of(&[name])
}

fn pair(policy: u8, facts: u8) -> PairNames {
    PairNames { policy: digest(policy), facts: digest(facts) }
}

/// Applies `pair` and dies; what the next process makes of it.
fn die(
    trial: Trial,
    quarantine: Quarantine,
    pair: PairNames,
    settled: Option<PairNames>,
    panicked: bool,
) -> Verdict {
    judge(trial.begin(pair, settled, 1), quarantine, settled, panicked, 2)
}

#[test]
fn two_deaths_or_one_panic_put_a_digest_into_quarantine() {
    let settled = Some(pair(1, 2));
    let first = die(Trial::default(), Quarantine::default(), pair(3, 2), settled, false);
    assert_eq!(first.death, Some(Suspect { digest: digest(3), kind: Kind::Policy, deaths: 1 }));
    assert!(!first.quarantine.holds(digest(3)));
    let second = die(first.trial, first.quarantine, pair(3, 2), settled, false);
    assert!(second.quarantine.holds(digest(3)));
    assert_eq!(second.trial.suspects, []);
    let panicked = die(Trial::default(), Quarantine::default(), pair(3, 2), settled, true);
    assert!(panicked.quarantine.holds(digest(3)));
}

#[test]
fn the_policy_is_suspected_first_and_what_has_settled_never() {
    let verdict = |pair, settled| die(Trial::default(), Quarantine::default(), pair, settled, false).death;
    let kind = |death: Option<Suspect>| death.map(|death| (death.digest, death.kind));
    assert_eq!(kind(verdict(pair(3, 4), None)), Some((digest(3), Kind::Policy)));
    assert_eq!(kind(verdict(pair(3, 4), Some(pair(1, 2)))), Some((digest(3), Kind::Policy)));
    assert_eq!(kind(verdict(pair(1, 4), Some(pair(1, 2)))), Some((digest(4), Kind::Facts)));
    assert_eq!(verdict(pair(1, 2), Some(pair(1, 2))), None);
}

#[test]
fn an_orderly_end_and_half_a_minute_of_life_are_no_deaths() {
    let settled = Some(pair(1, 2));
    let begun = Trial::default().begin(pair(3, 2), settled, 1);
    let ended = judge(begun.clone().end(), Quarantine::default(), settled, false, 2);
    assert_eq!(ended.death, None);
    let lived = judge(begun.settle(pair(3, 2)), Quarantine::default(), settled, false, 2);
    assert_eq!(lived.death, None);
}

#[test]
fn living_on_clears_the_suspicion() {
    let settled = Some(pair(1, 2));
    let first = die(Trial::default(), Quarantine::default(), pair(3, 2), settled, false);
    let lived = first.trial.begin(pair(3, 2), settled, 3).settle(pair(3, 2));
    let again = die(lived, first.quarantine, pair(3, 2), settled, false);
    assert_eq!(again.death.map(|death| death.deaths), Some(1));
    assert!(!again.quarantine.holds(digest(3)));
}

#[test]
fn the_record_reads_as_people_and_older_tools_write_it() {
    let text = format!(
        r#"{{"entries":[{{"digest":"{}","kind":"policy","deaths":2,"since_unix_ms":5}}]}}"#,
        digest(3)
    );
    let read: Quarantine = serde_json::from_str(&text).unwrap();
    assert!(read.holds(digest(3)));
    assert_eq!(read.version, Quarantine::VERSION);
}

/// What can happen to a proxy.
#[derive(Debug, Clone, Copy)]
enum Event {
    Apply(u8, u8),
    Settle,
    Die { panicked: bool },
    EndInOrder,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..6_u8, 10..16_u8).prop_map(|(policy, facts)| Event::Apply(policy, facts)),
        2 => Just(Event::Settle),
        3 => any::<bool>().prop_map(|panicked| Event::Die { panicked }),
        1 => Just(Event::EndInOrder),
    ]
}

proptest! {
    /// Nothing is quarantined that was settled at the time of the death, or that did not die often enough; all lists are bounded.
    #[test]
    fn only_the_guilty_are_locked_up(events in prop::collection::vec(event(), 1..400)) {
        let (mut trial, mut quarantine) = (Trial::default(), Quarantine::default());
        let mut settled: Option<PairNames> = None;
        let mut running: Option<PairNames> = None;
        let mut deaths = std::collections::HashMap::<Digest, u32>::new();
        for event in events {
            match event {
                Event::Apply(policy, facts) => {
                    running = Some(pair(policy, facts));
                    trial = trial.begin(pair(policy, facts), settled, 1);
                }
                Event::Settle => if let Some(running) = running {
                    trial = trial.settle(running);
                    settled = Some(running);
                },
                Event::EndInOrder => trial = trial.end(),
                Event::Die { panicked } => {
                    let before = quarantine.clone();
                    let verdict = judge(trial, quarantine, settled, panicked, 2);
                    (trial, quarantine) = (verdict.trial, verdict.quarantine);
                    prop_assert_eq!(trial.current, None);
                    let new: Vec<_> = quarantine.entries.iter().filter(|entry| !before.holds(entry.digest)).collect();
                    prop_assert!(new.len() <= 1);
                    if let Some(death) = verdict.death {
                        let count = deaths.entry(death.digest).or_default();
                        *count += 1;
                        let is_settled = settled.is_some_and(|settled| [settled.policy, settled.facts].contains(&death.digest));
                        prop_assert!(!is_settled);
                        for entry in &new {
                            prop_assert_eq!(entry.digest, death.digest);
                            prop_assert!(panicked || *count >= DEATHS_MAX);
                        }
                    } else {
                        prop_assert!(new.is_empty());
                    }
                }
            }
            prop_assert!(quarantine.entries.len() <= ENTRIES_MAX && trial.suspects.len() <= ENTRIES_MAX);
        }
    }
}
