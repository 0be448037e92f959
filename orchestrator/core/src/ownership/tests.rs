use stepwell_shared::encoding::VERSION;
use stepwell_shared::ownership::{Hold, Member};

use super::*;

const LEASE_MS: u64 = 3_000;

fn id(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

fn view(name: &str) -> Ownership {
    Ownership::new(id(name), 2, LEASE_MS)
}

fn member(revision: u64, leaving: bool) -> Stored<Member> {
    let value = Member { v: VERSION, host: String::new(), process: 1, since_ms: 0, beat: revision, leaving };
    Stored { revision, value: Some(value) }
}

fn lease(revision: u64, holder: Option<&str>, epoch: u64) -> Stored<Lease> {
    Stored { revision, value: Some(Lease { v: VERSION, holder: holder.map(id), epoch }) }
}

/// Members by name with their revisions, and the leases of partitions 0 and 1.
fn snapshot(members: &[(&str, u64)], leases: [Option<Stored<Lease>>; 2]) -> Snapshot {
    Snapshot {
        members: members.iter().map(|(name, revision)| (id(name), member(*revision, false))).collect(),
        leases: (0..).zip(leases).filter_map(|(partition, lease)| Some((partition, lease?))).collect(),
        hold: None,
    }
}

fn take(partition: u32, epoch: u64, expected: u64, from: Option<(&str, u64)>) -> Step {
    Step::Take { partition, epoch, expected, from: from.map(|(name, revision)| (id(name), revision)) }
}

/// A member that has both partitions.
fn holding() -> Ownership {
    let mut view = view("a");
    assert_eq!(view.look(&Snapshot::default(), 0), [take(0, 1, 0, None), take(1, 1, 0, None)]);
    view.took(0, 1, 10);
    view.took(1, 1, 11);
    view
}

#[test]
fn who_is_alone_takes_everything_once() {
    let mut view = view("a");
    let nothing = Snapshot::default();
    assert_eq!(view.look(&nothing, 0), [take(0, 1, 0, None), take(1, 1, 0, None)]);
    assert_eq!(view.look(&nothing, 10), [], "they are being taken");
    view.took(0, 1, 10);
    view.not_taken(1);
    assert_eq!(view.held().collect::<Vec<_>>(), [0]);
    assert_eq!(view.look(&nothing, 20), [take(1, 1, 0, None)]);
}

#[test]
fn a_newcomer_is_given_its_share_and_waits_for_it() {
    let both = [Some(lease(10, Some("a"), 1)), Some(lease(11, Some("a"), 1))];
    let seen = snapshot(&[("a", 1), ("b", 2)], both);
    let mut old = holding();
    let steps = old.look(&seen, 100);
    let [Step::HandOver { partition, epoch: 1, .. }] = steps[..] else { panic!("{steps:?}") };
    assert_eq!(view("b").look(&seen, 100), [], "its holder lives");
    old.handed_over(partition);
    let mut given = seen.clone();
    given.leases.insert(partition, lease(12, None, 1));
    assert_eq!(view("b").look(&given, 100), [take(partition, 2, 12, None)]);
    assert_eq!(old.look(&given, 100), []);
}

#[test]
fn the_dead_are_inherited_from_after_a_lease_time_of_silence() {
    let both = [Some(lease(10, Some("a"), 1)), Some(lease(11, Some("a"), 1))];
    let mut heir = view("b");
    assert_eq!(heir.look(&snapshot(&[("a", 5), ("b", 2)], both.clone()), 0), []);
    assert_eq!(heir.look(&snapshot(&[("a", 6), ("b", 3)], both.clone()), 2_000), []);
    assert_eq!(heir.look(&snapshot(&[("a", 6), ("b", 4)], both.clone()), 5_000), []);
    // What is read where somebody is behind is no sign of life, and none of death.
    assert_eq!(heir.look(&snapshot(&[("a", 5), ("b", 4)], both.clone()), 5_000), []);
    let steps = heir.look(&snapshot(&[("a", 6), ("b", 5)], both.clone()), 5_001);
    assert_eq!(steps, [take(0, 2, 10, Some(("a", 6))), take(1, 2, 11, Some(("a", 6)))]);
    heir.not_taken(0);
    heir.took(1, 2, 20);
    let taken = [both[0].clone(), Some(lease(20, Some("b"), 2))];
    let steps = heir.look(&snapshot(&[("a", 6), ("b", 5)], taken.clone()), 32_001);
    let bury = Step::Bury { member: id("a"), revision: 6 };
    assert_eq!(steps, [take(0, 2, 10, Some(("a", 6))), bury]);
    heir.not_taken(0);
    assert_eq!(heir.look(&snapshot(&[("b", 5)], taken), 32_002), [take(0, 2, 10, Some(("a", 0)))]);
}

#[test]
fn what_somebody_else_has_taken_is_lost() {
    let mut view = holding();
    let old = snapshot(&[("a", 1)], [Some(lease(9, Some("z"), 7)), Some(lease(11, Some("a"), 1))]);
    assert_eq!(view.look(&old, 1), [], "it was read where somebody is behind");
    let taken =
        snapshot(&[("a", 1), ("b", 2)], [Some(lease(12, Some("b"), 2)), Some(lease(11, Some("a"), 1))]);
    assert!(view.look(&taken, 2).contains(&Step::Lose { partition: 0 }));
    assert!(!view.held().any(|it| it == 0));
}

#[test]
fn who_leaves_gives_everything_back_and_takes_nothing() {
    let mut leaver = holding();
    leaver.leave();
    let both = [Some(lease(10, Some("a"), 1)), Some(lease(11, Some("a"), 1))];
    let mut seen = snapshot(&[("b", 2)], both);
    seen.members.insert(id("a"), member(7, true));
    let steps = leaver.look(&seen, 1);
    let back = |partition, expected| Step::HandOver { partition, epoch: 1, expected };
    assert_eq!(steps, [back(0, 10), back(1, 11)]);
    assert!(!leaver.is_idle());
    // Who ends does not count any more, but is waited for.
    let mut heir = view("b");
    assert_eq!(heir.look(&seen, 1), []);
    seen.leases = BTreeMap::from([(0, lease(12, None, 1)), (1, lease(13, None, 1))]);
    leaver.handed_over(0);
    leaver.handed_over(1);
    assert_eq!(leaver.look(&seen, 2), []);
    assert!(leaver.is_idle());
    assert_eq!(heir.look(&seen, 2), [take(0, 2, 12, None), take(1, 2, 13, None)]);
}

#[test]
fn a_hold_stops_everybody_until_it_is_not_renewed() {
    let mut view = holding();
    let both = [Some(lease(10, Some("a"), 1)), Some(lease(11, Some("a"), 1))];
    let mut seen = snapshot(&[("a", 1)], both);
    let value = Hold { v: VERSION, reason: "backup".into(), beat: 1 };
    seen.hold = Some(Stored { revision: 20, value: Some(value) });
    assert_eq!(view.look(&seen, 1).len(), 2);
    view.handed_over(0);
    view.handed_over(1);
    seen.leases = BTreeMap::from([(0, lease(12, None, 1)), (1, lease(13, None, 1))]);
    assert_eq!(view.look(&seen, LEASE_MS), []);
    assert_eq!(view.look(&seen, LEASE_MS + 2), [take(0, 2, 12, None), take(1, 2, 13, None)]);
}

#[test]
fn what_cannot_be_read_belongs_to_somebody() {
    let unreadable = Stored { revision: 4, value: None };
    let mut seen = snapshot(&[], [Some(unreadable), None]);
    seen.members.insert(id("newer"), Stored { revision: 3, value: None });
    let steps = view("a").look(&seen, 0);
    assert!(steps.iter().all(|step| !matches!(step, Step::Take { partition: 0, .. })), "{steps:?}");
    assert!(steps.len() <= 1, "the other one counts as alive: {steps:?}");
}

#[test]
fn a_lease_that_is_ones_own_by_mistake_is_given_back() {
    let mut view = holding();
    let both = [Some(lease(10, Some("a"), 1)), Some(lease(11, Some("a"), 1))];
    view.leave();
    assert_eq!(view.look(&snapshot(&[("a", 1)], both.clone()), 1).len(), 2);
    view.handed_over(0);
    // It was not told what became of the writing, and it was lost.
    view.handed_over(1);
    let seen = snapshot(&[("a", 1), ("b", 2)], [Some(lease(12, None, 1)), both[1].clone()]);
    assert_eq!(view.look(&seen, 2), [take(1, 2, 11, None)]);
    assert!(!view.is_idle(), "it must not go before it is given back");
    view.took(1, 2, 20);
    let seen = snapshot(&[("a", 1), ("b", 2)], [Some(lease(12, None, 1)), Some(lease(20, Some("a"), 2))]);
    assert_eq!(view.look(&seen, 3), [Step::HandOver { partition: 1, epoch: 2, expected: 20 }]);
}

#[test]
fn the_highest_epoch_is_no_end() {
    let highest = [Some(lease(10, None, u64::MAX)), Some(lease(11, Some("a"), 1))];
    let steps = view("b").look(&snapshot(&[("a", 1)], highest), 0);
    assert!(steps.len() <= 1, "{steps:?}");
}
