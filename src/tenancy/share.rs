//! What one tenant may take up of the node's memory.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// How large every tenant's share is, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct ShareSize {
    /// Of the room for bodies.
    pub bodies: usize,
    /// Of the room for answers.
    pub answers: usize,
}

/// One tenant's share, in KiB. What is held of it counts against the node's room too; it is there so
/// that no tenant can hold all of that.
#[derive(Clone, Debug)]
pub struct Share {
    /// Of the room for bodies.
    pub bodies: Arc<Semaphore>,
    /// Of the room for answers.
    pub answers: Arc<Semaphore>,
}

impl Share {
    pub(super) fn new(size: ShareSize) -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(size.bodies)),
            answers: Arc::new(Semaphore::new(size.answers)),
        }
    }
}
