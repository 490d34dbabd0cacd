//! Tables for seats and queues.

use super::*;

fn level(nominal: u32, lendable: u32, borrowing: u32, queues: u64) -> Limits {
    let queuing = (queues > 0).then_some(Queuing { queues, hand: 1, length_max: 3 });
    Limits { exempt: false, nominal, lendable, borrowing, queuing }
}

fn seats(levels: &[(&str, Limits)]) -> (Seats<&'static str>, Vec<Slot>) {
    let mut seats = Seats::default();
    let wanted: Vec<_> =
        levels.iter().map(|(name, limits)| ((*name).to_owned(), limits.clone())).collect();
    let slots = seats.configure(&wanted, &mut Vec::new());
    (seats, slots)
}

fn arrive(seats: &mut Seats<&'static str>, slot: Slot, flow: u64, name: &'static str) -> Arrival {
    seats.arrive(slot, 1, || flow, || name)
}

fn finish(seats: &mut Seats<&'static str>, slot: Slot) -> Vec<&'static str> {
    let mut woken = Vec::new();
    seats.finish(slot, 1, &mut woken);
    woken
}

#[test]
fn a_level_without_queues_refuses_and_an_exempt_one_never_does() {
    let free = Limits { exempt: true, ..Limits::default() };
    let (mut seats, slots) = seats(&[("a", level(1, 0, 0, 0)), ("free", free)]);
    assert_eq!(arrive(&mut seats, slots[0], 0, "1"), Arrival::Runs);
    let refused = Arrival::Refused(Refusal::ConcurrencyLimit);
    assert_eq!(arrive(&mut seats, slots[0], 0, "2"), refused);
    assert_eq!(finish(&mut seats, slots[0]), [""; 0]);
    assert_eq!(arrive(&mut seats, slots[0], 0, "3"), Arrival::Runs);
    for _ in 0..1000 {
        assert_eq!(arrive(&mut seats, slots[1], 0, "x"), Arrival::Runs);
    }
}

#[test]
fn flows_take_turns_and_full_queues_refuse() {
    let (mut seats, slots) = seats(&[("a", level(1, 0, 0, 8))]);
    let slot = slots[0];
    assert_eq!(arrive(&mut seats, slot, 0, "first"), Arrival::Runs);
    for name in ["greedy 1", "greedy 2", "greedy 3"] {
        assert!(matches!(arrive(&mut seats, slot, 1, name), Arrival::Waits(_)), "{name}");
    }
    assert_eq!(arrive(&mut seats, slot, 1, "greedy 4"), Arrival::Refused(Refusal::QueueFull));
    assert!(matches!(arrive(&mut seats, slot, 2, "modest"), Arrival::Waits(_)));
    let order: Vec<_> = (0..5).flat_map(|_| finish(&mut seats, slot)).collect();
    assert_eq!(order, ["greedy 1", "modest", "greedy 2", "greedy 3"]);
}

#[test]
fn who_leaves_the_queue_is_not_woken() {
    let (mut seats, slots) = seats(&[("a", level(1, 0, 0, 8))]);
    let slot = slots[0];
    arrive(&mut seats, slot, 0, "first");
    let Arrival::Waits(number) = arrive(&mut seats, slot, 1, "impatient") else { panic!() };
    arrive(&mut seats, slot, 1, "patient");
    assert!(seats.leave(slot, number));
    assert!(!seats.leave(slot, number));
    assert_eq!(finish(&mut seats, slot), ["patient"]);
}

#[test]
fn idle_seats_are_lent_and_come_back_first() {
    let (mut seats, slots) = seats(&[("rich", level(4, 2, 0, 8)), ("poor", level(2, 0, 4, 8))]);
    let (rich, poor) = (slots[0], slots[1]);
    // Two of its own, two that are lent.
    for name in ["1", "2", "3", "4"] {
        assert_eq!(arrive(&mut seats, poor, 0, name), Arrival::Runs, "{name}");
    }
    assert!(matches!(arrive(&mut seats, poor, 0, "5"), Arrival::Waits(_)));
    // The lender's other two are there at any time.
    assert_eq!(arrive(&mut seats, rich, 0, "a"), Arrival::Runs);
    assert_eq!(arrive(&mut seats, rich, 0, "b"), Arrival::Runs);
    assert!(matches!(arrive(&mut seats, rich, 0, "c"), Arrival::Waits(_)));
    assert_eq!(finish(&mut seats, poor), ["c"], "the lender is below its share");
    assert_eq!(finish(&mut seats, rich), ["5"]);
}

#[test]
fn a_wide_request_runs_alone_where_it_is_wider_than_the_level() {
    let (mut seats, slots) = seats(&[("a", level(2, 0, 0, 8))]);
    assert_eq!(seats.arrive(slots[0], 9, || 0, || "wide"), Arrival::Runs);
    assert!(matches!(arrive(&mut seats, slots[0], 0, "next"), Arrival::Waits(_)));
    let mut woken = Vec::new();
    seats.finish(slots[0], 9, &mut woken);
    assert_eq!(woken, ["next"]);
}

#[test]
fn new_limits_wake_whom_there_is_room_for_and_old_levels_empty_out() {
    let (mut seats, slots) = seats(&[("a", level(1, 0, 0, 8)), ("b", level(1, 0, 0, 8))]);
    arrive(&mut seats, slots[0], 0, "1");
    arrive(&mut seats, slots[0], 0, "2");
    let mut woken = Vec::new();
    let next = seats.configure(&[("c".to_owned(), level(1, 0, 0, 0))], &mut woken);
    assert_eq!(next, [slots[1]], "the slot of the level that nobody used");
    assert_eq!(finish(&mut seats, slots[0]), ["2"]);
    let next = seats.configure(&[("a".to_owned(), level(5, 0, 0, 8))], &mut woken);
    assert_eq!(next, [slots[0]], "its last request still runs");
}

#[test]
fn hands_are_of_different_queues() {
    for hash in [0, 1, 12_345_678_901_234_567, u64::MAX] {
        let mut hand: Vec<u64> = deal(hash, 64, 6).collect();
        hand.sort_unstable();
        hand.dedup();
        assert_eq!(hand.len(), 6);
        assert!(hand.iter().all(|queue| *queue < 64));
    }
    assert_eq!(deal(7, 1, 1).collect::<Vec<_>>(), [0]);
    assert_eq!(deal(7, 0, 1).count(), 0);
}

#[test]
fn shares_become_seats_as_upstream_counts_them() {
    // 600 seats, 245 shares: the bootstrap configuration.
    let cases = [
        ("system", 30, 33, 74, 24),
        ("node-high", 40, 25, 98, 25),
        ("workload-low", 100, 90, 245, 221),
        ("catch-all", 5, 0, 13, 0),
    ];
    for (name, shares, percent, nominal, lendable) in cases {
        let limits = limits(600, 245, shares, percent, None);
        assert_eq!((limits.nominal, limits.lendable), (nominal, lendable), "{name}");
    }
    let queuing = Some(Queuing { queues: 64, hand: 6, length_max: 50 });
    let width = |nominal| width_max(&Limits { nominal, queuing, ..Limits::default() });
    assert_eq!([width(74), width(25), width(0)], [10, 4, 1]);
}
