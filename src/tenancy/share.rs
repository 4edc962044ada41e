//! What one tenant may take up of the node's memory and cores.

use std::sync::Arc;

use tokio::sync::Semaphore;

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
}

/// One tenant's share; rooms are in KiB. What is held of it counts against the node's room too; it is there so
/// that no tenant can hold all of that.
#[derive(Clone, Debug)]
pub struct Share {
    /// Of the room for bodies.
    pub bodies: Arc<Semaphore>,
    /// Of the room for answers.
    pub answers: Arc<Semaphore>,
    /// Searches at the same time, of those that take long.
    pub searches: Arc<Semaphore>,
    /// Searches that are under way or wait.
    pub waiting_searches: Arc<Semaphore>,
}

impl Share {
    pub(super) fn new(size: ShareSize) -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(size.bodies)),
            answers: Arc::new(Semaphore::new(size.answers)),
            searches: Arc::new(Semaphore::new(size.searches)),
            waiting_searches: Arc::new(Semaphore::new(size.searches + size.waiting_searches)),
        }
    }
}
