//! What one tenant may take up of the node's memory and cores.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use vectorizer_log::TenantId;

/// How large every tenant's share is; rooms are in KiB.
#[derive(Clone, Copy, Debug)]
pub struct ShareSize {
    /// Of the room for bodies.
    pub bodies: usize,
    /// Of the room for answers.
    pub answers: usize,
    /// Searches at the same time, of those that take long.
    pub searches: usize,
    /// Searches that wait for that.
    pub waiting_searches: usize,
    /// Bodies that are parsed at the same time, of each size.
    pub parsing: usize,
    /// Bodies that wait for that.
    pub waiting_parses: usize,
    /// MCP messages that are answered at the same time.
    pub messages: usize,
}

/// One tenant's share; rooms are in KiB. What is held of it counts against the node's room too; it is there so
/// that no tenant can hold all of that.
#[derive(Clone, Debug)]
pub struct Share {
    /// Of the room for bodies.
    pub bodies: Arc<Semaphore>,
    /// How much of the node's room for bodies the tenant holds: what has arrived of its bodies.
    pub bodies_held: Arc<AtomicUsize>,
    /// Of the room for answers.
    pub answers: Arc<Semaphore>,
    /// Searches at the same time, of those that take long.
    pub searches: Arc<Semaphore>,
    /// Searches that are under way or wait.
    pub waiting_searches: Arc<Semaphore>,
    /// Medium and large bodies that are parsed at the same time.
    pub parsing: [Arc<Semaphore>; 2],
    /// Bodies that are parsed or wait for that.
    pub waiting_parses: Arc<Semaphore>,
    /// MCP messages that are answered at the same time.
    pub messages: Arc<Semaphore>,
}

impl Share {
    /// A share of this size, of which nothing is taken.
    pub fn new(size: ShareSize) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count));
        Self {
            bodies: permits(size.bodies),
            bodies_held: Arc::default(),
            answers: permits(size.answers),
            searches: permits(size.searches),
            waiting_searches: permits(size.searches + size.waiting_searches),
            parsing: [permits(size.parsing), permits(size.parsing)],
            waiting_parses: permits(2 * size.parsing + size.waiting_parses),
            messages: permits(size.messages),
        }
    }

    /// Whether nothing is held of it, and no other clone of it could take anything.
    fn is_unused(&self) -> bool {
        let Self {
            bodies,
            bodies_held,
            answers,
            searches,
            waiting_searches,
            parsing,
            waiting_parses,
            messages,
        } = self;
        let semaphores = [bodies, answers, searches, waiting_searches, waiting_parses, messages];
        Arc::strong_count(bodies_held) == 1
            && semaphores.into_iter().chain(parsing).all(|permits| Arc::strong_count(permits) == 1)
    }
}

/// The shares of all tenants that have anything to do with the node. A tenant has one share, asleep or awake, whatever
/// comes first: a message, a body or its waking.
#[derive(Debug)]
pub(super) struct Shares {
    size: ShareSize,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    shares: HashMap<TenantId, Share>,
    /// How many there may be before those that are unused are let go.
    looked_through_at: usize,
}

impl Shares {
    const LOOKED_THROUGH_MIN: usize = 64;

    pub(super) fn new(size: ShareSize) -> Self {
        let held = Held { shares: HashMap::new(), looked_through_at: Self::LOOKED_THROUGH_MIN };
        Self { size, held: Mutex::new(held) }
    }

    /// The tenant's share.
    pub(super) fn of(&self, tenant: &TenantId) -> Share {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = held.shares.get(tenant) {
            return share.clone();
        }
        if held.shares.len() >= held.looked_through_at {
            held.shares.retain(|_, share| !share.is_unused());
            held.looked_through_at = Self::LOOKED_THROUGH_MIN.max(2 * held.shares.len());
        }
        let share = Share::new(self.size);
        held.shares.insert(tenant.clone(), share.clone());
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ShareSize = ShareSize {
        bodies: 8,
        answers: 8,
        searches: 1,
        waiting_searches: 1,
        parsing: 1,
        waiting_parses: 1,
        messages: 1,
    };

    #[test]
    fn a_tenant_has_one_share_for_as_long_as_anything_is_held_of_it() {
        let shares = Shares::new(SIZE);
        let held = shares.of(&"holding".parse().unwrap());
        let body = Arc::clone(&held.bodies).try_acquire_many_owned(5).unwrap();
        drop(held);
        for number in 0..1_000 {
            drop(shares.of(&format!("tenant-{number}").parse().unwrap()));
        }
        assert!(shares.held.lock().unwrap().shares.len() <= 2 * Shares::LOOKED_THROUGH_MIN);
        assert_eq!(shares.of(&"holding".parse().unwrap()).bodies.available_permits(), 3);
        drop(body);
        assert_eq!(shares.of(&"holding".parse().unwrap()).bodies.available_permits(), 8);
    }
}
