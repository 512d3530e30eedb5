//! The arithmetic, against itself done the long way.

use proptest::prelude::*;

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

#[test]
fn a_minute_gives_back_what_its_limit_allows_and_no_more() {
    let mut minute = Minute::default();
    minute.take(10);
    assert_eq!((minute.used(), minute.remaining(10)), (10, 0));
    assert_eq!(minute.wait_for(1, 10), Some(Duration::from_secs(6)));
    minute.leak(at(5_999), Some(10));
    assert_eq!(minute.wait_for(1, 10), Some(Duration::from_millis(1)));
    minute.leak(at(6_000), Some(10));
    assert_eq!(minute.wait_for(1, 10), Some(Duration::ZERO));
    minute.leak(at(60_000), Some(10));
    assert_eq!((minute.used(), minute.reset(10)), (0, Duration::ZERO));
}

#[test]
fn what_has_leaked_out_is_not_given_back() {
    let mut counters = Counters::default();
    let first = counters.take(60);
    counters.tokens.leak(at(30_000), Some(60));
    let second = counters.take(60);
    assert_eq!(counters.tokens.used(), 90);
    // Half of the first has leaked: of its 60 no more than 30 are there to be given back.
    counters.settle(first, 0);
    assert_eq!(counters.tokens.used(), 60, "the second's are all there");
    counters.settle(second, 20);
    assert_eq!(counters.tokens.used(), 20);
    counters.settle(second, 0);
    assert_eq!(counters.tokens.used(), 20, "nothing is given back twice");
}

#[test]
fn what_is_given_back_leaks_no_more() {
    let mut counters = Counters::default();
    let (first, second) = (counters.take(60), counters.take(60));
    counters.settle(second, 0);
    counters.tokens.leak(at(60_000), Some(60));
    assert_eq!(counters.tokens.used(), 0);
    let third = counters.take(10);
    counters.settle(first, 0);
    assert_eq!(counters.tokens.used(), 10, "nothing of the first is left");
    counters.settle(third, 4);
    assert_eq!(counters.tokens.used(), 4);
}

#[test]
fn what_was_reserved_last_may_be_settled_first() {
    let mut counters = Counters::default();
    let taken: Vec<Taken> = (0..3).map(|_| counters.take(32_768)).collect();
    for one in taken.into_iter().rev() {
        counters.settle(one, 100);
    }
    assert_eq!((counters.tokens.used(), counters.day.tokens), (300, 300));
    assert_eq!(counters.month.tokens, 300);
}

/// The account, kept the long way: every use a layer of its own, of which the lowest leaks first.
#[derive(Default)]
struct Layers(Vec<(Option<Ticket>, u64)>);

impl Layers {
    fn leak(&mut self, mut parts: u64) {
        for (_, left) in &mut self.0 {
            let gone = parts.min(*left);
            *left -= gone;
            parts -= gone;
        }
    }

    fn settle(&mut self, taken: Taken, actual: u64) {
        let of_it = |layer: &&mut (Option<Ticket>, u64)| layer.0 == Some(taken.ticket);
        let layer = self.0.iter_mut().find(of_it).expect("it is open");
        layer.1 -= (taken.tokens.saturating_sub(actual) * PARTS).min(layer.1);
        self.0.push((None, actual.saturating_sub(taken.tokens) * PARTS));
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|layer| layer.1).sum()
    }
}

proptest! {
    #[test]
    fn any_order_of_settling_ends_at_what_was_really_used(
        uses in proptest::collection::vec((0_u64..40_000, 0_u64..50_000), 0..20),
        order in any::<u64>(),
    ) {
        let mut counters = Counters::default();
        let mut open: Vec<_> =
            uses.iter().map(|(tokens, actual)| (counters.take(*tokens), *actual)).collect();
        let mut order = order;
        while !open.is_empty() {
            let (taken, actual) = open.remove((order % open.len() as u64) as usize);
            order = order.rotate_right(7).wrapping_mul(31);
            counters.settle(taken, actual);
        }
        let used: u64 = uses.iter().map(|(_, actual)| actual).sum();
        prop_assert_eq!((counters.tokens.used(), counters.day.tokens), (used, used));
        prop_assert_eq!(counters.month.tokens, used);
        prop_assert!(counters.open.is_empty());
    }

    #[test]
    fn what_is_given_back_is_ones_own(
        steps in proptest::collection::vec((0_u8..5, 0_u64..100, any::<u8>()), 0..100),
    ) {
        let (mut counters, mut layers) = (Counters::default(), Layers::default());
        let (mut open, mut now) = (Vec::new(), 0);
        for (what, size, which) in steps {
            match what {
                0 | 1 => {
                    let taken = counters.take(size);
                    layers.0.push((Some(taken.ticket), size * PARTS));
                    open.push(taken);
                }
                2 | 3 if !open.is_empty() => {
                    let taken = open.remove(usize::from(which) % open.len());
                    counters.settle(taken, size);
                    layers.settle(taken, size);
                }
                _ => {
                    let elapsed = size * 100;
                    now += i64::try_from(elapsed).expect("small");
                    counters.tokens.leak(at(now), Some(60));
                    layers.leak(elapsed * 60);
                }
            }
            prop_assert_eq!(counters.tokens.spent, layers.sum());
        }
    }
}

#[test]
fn more_than_the_limit_never_fits() {
    assert_eq!(Minute::default().wait_for(11, 10), None);
}

#[test]
fn time_that_runs_back_gives_nothing() {
    let mut minute = Minute { at_ms: 60_000, ..Minute::default() };
    minute.take(5);
    minute.leak(at(0), Some(10));
    assert_eq!((minute.spent, minute.at_ms), (5 * PARTS, 60_000));
}

#[test]
fn what_is_used_up_for_longest_is_told() {
    let bounds = Bounds { day_tokens: Some(10), month_tokens: Some(10), ..Bounds::default() };
    let now = Timestamp::parse("2026-02-27T12:00:00Z").expect("a moment");
    let now = Now { steady: now, date: now };
    let mut counters = Counters::default();
    counters.advance(now, &bounds);
    counters.take(10);
    let over = counters.obstacle_to_tokens(1, &bounds, now).expect("used up");
    assert_eq!((over.which, over.remaining), (Which::MonthTokens, 0));
    assert_eq!(over.wait, Some(Duration::from_hours(36)));
    let never = counters.obstacle_to_tokens(11, &bounds, now).expect("never fits");
    assert_eq!(never.wait, None);
    let of_day = Bounds { month_tokens: None, ..bounds };
    let over = counters.obstacle_to_tokens(1, &of_day, now).expect("used up");
    assert_eq!((over.which, over.wait), (Which::DayTokens, Some(Duration::from_hours(12))));
}

#[test]
fn requests_of_a_day_and_of_a_month_are_counted_apart() {
    let bounds = Bounds { day_requests: Some(2), month_requests: Some(3), ..Bounds::default() };
    let mut now = Timestamp::parse("2026-02-26T00:00:00Z").expect("a moment");
    let mut counters = Counters::default();
    let mut ask = |counters: &mut Counters, days: u64| {
        now = now.plus(Duration::from_hours(24 * days));
        let now = Now { steady: now, date: now };
        counters.advance(now, &bounds);
        let over = counters.obstacle_to_entry(&bounds, now);
        if over.is_none() {
            counters.enter();
        }
        over.map(|over| (over.which, over.wait))
    };
    let days = |days: u64| Some(Duration::from_hours(24 * days));
    assert_eq!([ask(&mut counters, 0), ask(&mut counters, 0)], [None, None]);
    assert_eq!(ask(&mut counters, 0), Some((Which::DayRequests, days(1))));
    assert_eq!(ask(&mut counters, 1), None);
    assert_eq!(ask(&mut counters, 0), Some((Which::MonthRequests, days(2))));
    assert_eq!(ask(&mut counters, 2), None, "March");
}

#[test]
fn the_tightest_set_counts_and_zero_is_no_limit() {
    let wide = LimitSet { requests_per_minute: Some(9), ..LimitSet::default() };
    let tight = LimitSet { requests_per_minute: Some(2), ..LimitSet::default() };
    let none = LimitSet { requests_per_minute: Some(0), ..LimitSet::default() };
    assert_eq!(Bounds::tightest([&wide, &tight, &none]).requests, Some(2));
    assert_eq!(Bounds::tightest([&none]).requests, None);
}
