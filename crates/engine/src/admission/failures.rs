//! Failed authentications, limited by the client's address.
//!
//! Guessing keys is slowed down, and most guesses cause no call of HiveHub. Only well-formed keys that HiveHub has
//! refused count. Failures of an address never lock out a valid key:
//!
//! - A key in the cache needs no call, and is not limited.
//! - A key that was valid before is asked about, however often its address has failed.
//! - An unknown key from a blocked address waits for a slot: four calls a second, first come, first served. Each
//!   guess waits, too, so guessing does not lock out others. Only when the slots of the next eight seconds are taken,
//!   requests are refused with 429.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;
use vectorizer_access::{KeyHash, Origin};

/// How many failures an address may have at once, and how many more per minute.
const FAILURES_EACH_MINUTE: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");
/// The time between two calls for a blocked address.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(250);
/// The longest wait for a slot.
const TURN_PATIENCE: Duration = Duration::from_secs(8);
/// How many addresses are counted. The cache evicts others.
const ADDRESSES_MAX: u64 = 10_000;
/// After how long without a failure an address is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(2);
/// How many keys are stored that were valid before.
const PROVEN_MAX: u64 = 100_000;

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Failures by address. Cheap to clone; the clones share the counts.
#[derive(Clone)]
pub struct FailedAuthentications {
    addresses: Cache<Origin, Arc<Failures<MonotonicClock>>>,
    proven: Cache<KeyHash, ()>,
}

impl Default for FailedAuthentications {
    fn default() -> Self {
        Self {
            addresses: Cache::builder().max_capacity(ADDRESSES_MAX).time_to_idle(FORGOTTEN).build(),
            proven: Cache::new(PROVEN_MAX),
        }
    }
}

impl FailedAuthentications {
    /// How long to wait before HiveHub may be asked about a key from this address. The error is the time until a slot
    /// is free.
    pub(super) fn question(&self, from: IpAddr, key: &KeyHash) -> Result<Duration, Duration> {
        match self.addresses.get(&Origin::from(from)) {
            Some(failures) if !self.proven.contains_key(key) => failures.question(),
            _ => Ok(Duration::ZERO),
        }
    }

    /// A key from this address was refused.
    pub(super) fn failed(&self, from: IpAddr) {
        let start = || Arc::new(Failures::new(MonotonicClock));
        self.addresses.get_with(from.into(), start).failed();
    }

    /// The key is valid.
    pub(super) fn proved(&self, key: &KeyHash) {
        if !self.proven.contains_key(key) {
            self.proven.insert(*key, ());
        }
    }
}

/// The failures of one address.
struct Failures<C: Clock> {
    clock: C,
    borne: Limiter<C>,
    block_state: Mutex<BlockState<C::Instant>>,
}

/// Until when an address is blocked, and its next free slot.
struct BlockState<I> {
    blocked_until: Option<I>,
    next_turn: Option<I>,
}

impl<C: Clock + Clone> Failures<C> {
    fn new(clock: C) -> Self {
        Self {
            borne: RateLimiter::direct_with_clock(Quota::per_minute(FAILURES_EACH_MINUTE), clock.clone()),
            block_state: Mutex::new(BlockState { blocked_until: None, next_turn: None }),
            clock,
        }
    }

    fn failed(&self) {
        if let Err(blocked) = self.borne.check() {
            self.block_state().blocked_until = Some(blocked.earliest_possible());
        }
    }

    fn question(&self) -> Result<Duration, Duration> {
        let now = self.clock.now();
        let mut block_state = self.block_state();
        if block_state.blocked_until.is_none_or(|until| until <= now) {
            return Ok(Duration::ZERO);
        }
        let turn = block_state.next_turn.map_or(now, |turn| turn.max(now));
        let wait: Duration = turn.duration_since(now).into();
        if wait > TURN_PATIENCE {
            return Err(wait);
        }
        block_state.next_turn = Some(turn + Nanos::from(BETWEEN_QUESTIONS));
        Ok(wait)
    }

    fn block_state(&self) -> MutexGuard<'_, BlockState<C::Instant>> {
        self.block_state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_fails_too_often_has_turns_until_it_has_paused() {
        let clock = FakeRelativeClock::default();
        let failures = Failures::new(clock.clone());
        for _ in 0..21 {
            assert_eq!(failures.question(), Ok(Duration::ZERO));
            // The last failure is one too many.
            failures.failed();
        }
        for turn in 0..=32 {
            assert_eq!(failures.question(), Ok(BETWEEN_QUESTIONS * turn));
            failures.failed();
        }
        for _ in 0..100 {
            assert_eq!(failures.question(), Err(TURN_PATIENCE + BETWEEN_QUESTIONS));
        }
        // A request that comes after a slot has passed takes the last one.
        clock.advance(BETWEEN_QUESTIONS);
        assert_eq!(failures.question(), Ok(TURN_PATIENCE));
        assert_eq!(failures.question(), Err(TURN_PATIENCE + BETWEEN_QUESTIONS));
        clock.advance(Duration::from_mins(1));
        for _ in 0..20 {
            assert_eq!(failures.question(), Ok(Duration::ZERO));
            failures.failed();
        }
    }

    #[test]
    fn what_one_address_does_is_no_other_s_and_a_proven_key_s_fault() {
        let failures = FailedAuthentications::default();
        let (stranger, proven) = (KeyHash::of("stranger"), KeyHash::of("proven"));
        failures.proved(&proven);
        for _ in 0..40 {
            failures.failed(address("192.0.2.1"));
            failures.failed(address("2001:db8:1:2::1"));
        }
        for blocked in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1:2:ffff::9"] {
            let waits = |key| failures.question(address(blocked), key);
            while waits(&stranger).is_ok() {}
            assert_eq!(waits(&proven), Ok(Duration::ZERO), "{blocked}");
        }
        for other in ["192.0.2.2", "2001:db8:1:3::1", "::1"] {
            for _ in 0..5 {
                assert_eq!(failures.question(address(other), &stranger), Ok(Duration::ZERO), "{other}");
            }
        }
    }

    #[test]
    fn no_number_of_addresses_takes_more_than_its_room() {
        let failures = FailedAuthentications::default();
        for number in 0..20_000 {
            failures.failed(IpAddr::V4(std::net::Ipv4Addr::from_bits(number)));
        }
        failures.addresses.run_pending_tasks();
        assert!(failures.addresses.entry_count() <= ADDRESSES_MAX);
    }
}
