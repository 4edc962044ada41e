//! What the breaker promises, on a clock that is set by hand.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, Try};
use super::clock::Clock;
use super::clock::ManualClock;
use super::error::{Garbage, HubError};
use super::models::Contradiction;
use super::observer::Call;

struct Bench {
    breaker: Arc<Breaker>,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { breaker: Breaker::new(Arc::clone(&clock) as Arc<dyn Clock>), clock }
    }

    /// With a hub that failed so often that it is left alone.
    fn open() -> Self {
        let bench = Self::new();
        for _ in 0..5 {
            bench.admitted().ended(&down());
        }
        bench
    }

    fn admitted(&self) -> Try {
        let Ok(admitted) = self.breaker.admit(Call::Validate) else { panic!("it is left alone") };
        admitted
    }

    fn waits(&self) -> Duration {
        self.breaker.wait(Call::Validate)
    }
}

fn down() -> Result<(), HubError> {
    Err(HubError::Unreachable("no route".into()))
}

fn failing(status: u16, seconds: Option<u64>) -> Result<(), HubError> {
    Err(HubError::Failing { status, retry_after: seconds.map(Duration::from_secs) })
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_few_failures_in_a_row_open_it_and_fewer_do_not() {
    for failure in [down(), failing(500, None), Err(HubError::ServiceKeyRejected { status: 401 })] {
        let bench = Bench::new();
        for _ in 0..3 {
            for _ in 0..4 {
                bench.admitted().ended(&failure);
            }
            bench.admitted().ended(&Ok(()));
        }
        for _ in 0..5 {
            assert_eq!(bench.waits(), Duration::ZERO);
            bench.admitted().ended(&failure);
        }
        assert!(bench.breaker.admit(Call::Validate).is_err());
        assert!((Duration::from_millis(500)..=seconds(1)).contains(&bench.waits()));
    }
}

#[test]
fn every_call_shares_the_pause() {
    let bench = Bench::open();
    for call in [Call::Validate, Call::Quota, Call::Usage] {
        assert!(bench.breaker.admit(call).is_err(), "{call:?}");
    }
}

#[test]
fn one_probe_is_let_through_and_closes_it() {
    let bench = Bench::open();
    bench.clock.pass(1);
    let probe = bench.admitted();
    assert!(bench.breaker.admit(Call::Quota).is_err(), "one at a time");
    probe.ended(&Ok(()));
    for one in [bench.admitted(), bench.admitted()] {
        one.ended(&down());
    }
    assert_eq!(bench.waits(), Duration::ZERO, "the failures of before do not count");
}

#[test]
fn each_probe_that_fails_makes_the_pause_longer_up_to_half_a_minute() {
    let bench = Bench::open();
    for pause in [1, 2, 4, 8, 16, 30, 30, 30] {
        let waits = bench.waits();
        assert!((seconds(pause) / 2..=seconds(pause)).contains(&waits), "{pause}: {waits:?}");
        bench.clock.pass(pause);
        bench.admitted().ended(&down());
    }
    bench.clock.pass(30);
    bench.admitted().ended(&Ok(()));
    for _ in 0..5 {
        bench.admitted().ended(&down());
    }
    assert!(bench.waits() <= seconds(1), "and a success makes it short again");
}

#[test]
fn a_hub_that_asks_for_time_gets_it_within_a_bound() {
    for (asked, given) in [(20, 20), (3_600, 30)] {
        let bench = Bench::new();
        bench.admitted().ended(&failing(503, Some(asked)));
        assert_eq!(bench.waits(), seconds(given));
        bench.clock.pass(given);
        assert_eq!(bench.waits(), Duration::ZERO);
    }
}

#[test]
fn too_many_calls_of_a_kind_hold_up_that_kind_alone() {
    let bench = Bench::new();
    let usage = bench.breaker.admit(Call::Usage).ok().unwrap();
    usage.ended(&failing(429, Some(20)));
    assert_eq!((bench.breaker.wait(Call::Usage), bench.waits()), (seconds(20), Duration::ZERO));
    let usage = bench.breaker.admit(Call::Quota).ok().unwrap();
    usage.ended(&failing(429, None));
    assert_eq!(bench.breaker.wait(Call::Quota), seconds(1));
    bench.clock.pass(20);
    assert!(bench.breaker.admit(Call::Usage).is_ok());
}

#[test]
fn an_answer_that_is_not_understood_is_a_failure_and_one_that_contradicts_itself_an_answer() {
    let garbage = |garbage: Garbage| Err::<(), _>(HubError::Garbage(garbage));
    for of in [|| Garbage::Status(404), || Garbage::TooLong(7), || Garbage::Json { line: 1, column: 1 }] {
        let bench = Bench::open();
        bench.clock.pass(1);
        bench.admitted().ended(&garbage(of()));
        assert!(bench.waits() > Duration::ZERO, "a probe that is answered by nonsense has failed");
        let bench = Bench::new();
        for _ in 0..5 {
            assert_eq!(bench.waits(), Duration::ZERO);
            bench.admitted().ended(&garbage(of()));
        }
        assert!(bench.waits() > Duration::ZERO);
    }
    let bench = Bench::open();
    bench.clock.pass(1);
    bench.admitted().ended(&garbage(Garbage::Contradiction(Contradiction::NoTenant)));
    assert_eq!(bench.waits(), Duration::ZERO);
}

#[test]
fn a_dropped_probe_is_repeated_by_the_next_caller() {
    let bench = Bench::open();
    bench.clock.pass(1);
    drop(bench.admitted());
    let slow = bench.admitted();
    assert!(bench.breaker.admit(Call::Validate).is_err());
    bench.clock.pass(5);
    let probe = bench.admitted();
    slow.ended(&Ok(()));
    probe.ended(&Ok(()));
    assert_eq!(bench.waits(), Duration::ZERO);
}

#[test]
fn a_failure_of_before_the_pause_does_not_make_it_longer() {
    let bench = Bench::new();
    let late = [bench.admitted(), bench.admitted()];
    for _ in 0..5 {
        bench.admitted().ended(&down());
    }
    let waits = bench.waits();
    for one in late {
        one.ended(&down());
    }
    assert_eq!(bench.waits(), waits);
}
