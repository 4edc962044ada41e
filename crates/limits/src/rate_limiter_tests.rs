use std::time::Duration;

use proptest::prelude::*;

use super::limits::RequestLimits;
use super::rate_limiter::RequestLimiter;

fn limiter(per_minute: u32, per_hour: u32) -> RequestLimiter {
    RequestLimiter::new(Some(RequestLimits { per_minute, per_hour }))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn as_many_as_the_minute_allows_come_at_once_and_then_one_for_its_share() {
    let limiter = limiter(60, 1_000_000);
    for asked in 0..60 {
        let (report, outcome) = limiter.charge(seconds(100));
        assert_eq!(outcome, Ok(()));
        assert_eq!(report.unwrap().minute.remaining, 59 - asked);
    }
    let (report, outcome) = limiter.charge(seconds(100));
    assert_eq!(outcome.unwrap_err().retry_after, seconds(1));
    assert_eq!((report.unwrap().minute.remaining, report.unwrap().minute.reset_seconds), (0, 60));
    assert_eq!(limiter.charge(seconds(101)).1, Ok(()));
    assert!(limiter.charge(seconds(101)).1.is_err());
    assert_eq!(limiter.report(seconds(161)).unwrap().minute.remaining, 60);
}

#[test]
fn a_request_that_the_hour_refuses_costs_the_minute_nothing() {
    let limiter = limiter(10, 3);
    for _ in 0..3 {
        assert_eq!(limiter.charge(seconds(1)).1, Ok(()));
    }
    for _ in 0..100 {
        let (report, outcome) = limiter.charge(seconds(1));
        assert_eq!(outcome.unwrap_err().retry_after, seconds(1_200));
        assert_eq!(report.unwrap().minute.remaining, 7);
    }
}

#[test]
fn a_request_that_the_minute_refuses_costs_the_hour_nothing() {
    let limiter = limiter(1, 10);
    assert_eq!(limiter.charge(seconds(1)).1, Ok(()));
    for _ in 0..100 {
        assert!(limiter.charge(seconds(1)).1.is_err());
    }
    assert_eq!(limiter.report(seconds(1)).unwrap().hour.remaining, 9);
}

#[test]
fn other_limits_hold_at_once_and_what_was_used_stays_used() {
    let limiter = limiter(10, 1_000);
    for _ in 0..10 {
        assert_eq!(limiter.charge(seconds(1)).1, Ok(()));
    }
    limiter.change(Some(RequestLimits { per_minute: 20, per_hour: 1_000 }));
    // A full minute's worth was used of the old limit; that is a full minute's worth of the new one, too.
    assert!(limiter.charge(seconds(1)).1.is_err());
    assert_eq!(limiter.charge(seconds(4)).1, Ok(()));
    limiter.change(Some(RequestLimits { per_minute: 0, per_hour: 1_000 }));
    assert_eq!(limiter.charge(seconds(1_000)).1.unwrap_err().retry_after, seconds(60));
    limiter.change(None);
    assert_eq!(limiter.charge(seconds(1_000)), (None, Ok(())));
}

#[test]
fn what_was_used_stays_used_also_if_there_is_no_limit_in_between() {
    let limits = Some(RequestLimits { per_minute: 10, per_hour: 20 });
    let limiter = RequestLimiter::new(limits);
    for _ in 0..10 {
        assert_eq!(limiter.charge(seconds(1)).1, Ok(()));
    }
    limiter.change(None);
    assert_eq!(limiter.charge(seconds(1)), (None, Ok(())));
    limiter.change(limits);
    assert!(limiter.charge(seconds(1)).1.is_err());
    let report = limiter.report(seconds(7)).unwrap();
    assert_eq!((report.minute.remaining, report.hour.remaining), (1, 10));
}

#[test]
fn a_large_limit_is_held_too() {
    let limiter = limiter(1_000_000_000, 1_000_000_000);
    for _ in 0..1_000 {
        assert_eq!(limiter.charge(seconds(1)).1, Ok(()));
    }
    assert_eq!(limiter.report(seconds(1)).unwrap().hour.remaining, 999_999_000);
}

proptest! {
    /// Against counting: what was let in within any span is at most the limit and its share of the span, and
    /// none is refused that this leaves room for.
    #[test]
    fn none_is_let_in_beyond_the_limits_and_none_refused_below_them(
        per_minute in 1_u32..50,
        per_hour in 1_u32..200,
        pauses in prop::collection::vec(prop_oneof![Just(0_u64), 0_u64..3_000, 0_u64..120_000], 1..300),
    ) {
        let limiter = limiter(per_minute, per_hour);
        let mut admitted: Vec<u64> = Vec::new();
        let mut now = 0;
        for pause in pauses {
            now += pause;
            let room = [(per_minute, 60_000_u64), (per_hour, 3_600_000)].iter().all(|(limit, window)| {
                // The request would be the last of every run of requests that ends with it.
                admitted.iter().enumerate().all(|(before, first)| {
                    let count = (admitted.len() - before + 1) as u64;
                    let interval = (window * 1_000_000).div_ceil(u64::from(*limit));
                    (count - 1) * interval <= (now - first) * 1_000_000 + (u64::from(*limit) - 1) * interval
                })
            });
            let outcome = limiter.charge(Duration::from_millis(now)).1;
            prop_assert_eq!(outcome.is_ok(), room, "at {} ms, admitted {:?}", now, admitted);
            match outcome {
                Ok(()) => admitted.push(now),
                Err(refused) => {
                    prop_assert!(refused.retry_after > Duration::ZERO);
                }
            }
        }
    }
}
