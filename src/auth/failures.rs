//! Failed authentications, limited by the client's address.
//!
//! Whoever tries keys out is slowed down, and HiveHub not asked about each of them. Only well-formed keys
//! that HiveHub has refused count. A valid key is never shut out by what others at its address do:
//!
//! - one in the cache needs no question and is not looked at here;
//! - one that was valid here before is asked about, however often its address has failed;
//! - one that has never been seen here shares a question a second with whatever else comes from a blocked
//!   address. Whoever comes first gets it; the others are told to come again in a second.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;

use super::key::KeyHash;

/// How many failures of an address are borne at once, and how many come to be borne again in a minute.
const FAILURES_EACH_MINUTE: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");
/// How often HiveHub is asked on behalf of an address that has failed too often.
const QUESTIONS_EACH_SECOND: NonZeroU32 = NonZeroU32::MIN;
/// How many addresses are kept account of; which ones, if there are more, the cache decides.
const ADDRESSES_MAX: u64 = 10_000;
/// An address that has not failed for so long is as good as new.
const FORGOTTEN: Duration = Duration::from_mins(2);
/// How many keys are remembered that were valid here.
const PROVEN_MAX: u64 = 100_000;

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Who has failed how often. Cheap to clone; the clones count together.
#[derive(Clone)]
pub struct FailedAuthentications {
    addresses: Cache<IpAddr, Arc<Failures<MonotonicClock>>>,
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
    /// Whether HiveHub may be asked about a key that comes from this address; if not, after how long.
    pub(super) fn question(&self, from: IpAddr, key: &KeyHash) -> Result<(), Duration> {
        match self.addresses.get(&origin(from)) {
            Some(failures) if !self.proven.contains_key(key) => failures.question(),
            _ => Ok(()),
        }
    }

    /// A key from this address was refused.
    pub(super) fn failed(&self, from: IpAddr) {
        let start = || Arc::new(Failures::new(MonotonicClock));
        self.addresses.get_with(origin(from), start).failed();
    }

    /// The key is valid.
    pub(super) fn proved(&self, key: &KeyHash) {
        if !self.proven.contains_key(key) {
            self.proven.insert(*key, ());
        }
    }
}

/// What counts as one address. Who has one of IPv6 has all that share its first 64 bits.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

/// What one address has failed at.
struct Failures<C: Clock> {
    clock: C,
    borne: Limiter<C>,
    questions: Limiter<C>,
    blocked_until: Mutex<Option<C::Instant>>,
}

impl<C: Clock + Clone> Failures<C> {
    fn new(clock: C) -> Self {
        let limiter = |quota| RateLimiter::direct_with_clock(quota, clock.clone());
        Self {
            borne: limiter(Quota::per_minute(FAILURES_EACH_MINUTE)),
            questions: limiter(Quota::per_second(QUESTIONS_EACH_SECOND)),
            blocked_until: Mutex::default(),
            clock,
        }
    }

    fn failed(&self) {
        if let Err(blocked) = self.borne.check() {
            *self.blocked_until.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(blocked.earliest_possible());
        }
    }

    fn question(&self) -> Result<(), Duration> {
        let until = *self.blocked_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if until.is_none_or(|until| until <= now) {
            return Ok(());
        }
        self.questions.check().map_err(|early| early.wait_time_from(now))
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
    fn an_address_that_fails_too_often_has_one_question_a_second_until_it_has_paused() {
        let clock = FakeRelativeClock::default();
        let failures = Failures::new(clock.clone());
        for _ in 0..20 {
            assert_eq!(failures.question(), Ok(()));
            failures.failed();
        }
        // One more than is borne.
        assert_eq!(failures.question(), Ok(()));
        failures.failed();
        for second in 0..2 {
            assert_eq!(failures.question(), Ok(()), "{second}");
            failures.failed();
            for _ in 0..100 {
                let wait = failures.question().unwrap_err();
                assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
            }
            clock.advance(Duration::from_secs(1));
        }
        clock.advance(Duration::from_secs(58));
        for _ in 0..20 {
            assert_eq!(failures.question(), Ok(()));
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
            // The question a second that the address has.
            let _ = failures.question(address(blocked), &stranger);
            assert!(failures.question(address(blocked), &stranger).is_err(), "{blocked}");
            assert_eq!(failures.question(address(blocked), &proven), Ok(()), "{blocked}");
        }
        for other in ["192.0.2.2", "2001:db8:1:3::1", "::1"] {
            for _ in 0..5 {
                assert_eq!(failures.question(address(other), &stranger), Ok(()), "{other}");
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
