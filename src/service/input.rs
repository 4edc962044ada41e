//! Arguments on their way into an operation.

use std::fmt;
use std::sync::Arc;

use vectorizer_log::Idempotency;

use super::Service;
use super::error::Error;
use super::request_memory::HeldMemory;
use super::work::INLINE_BYTES_MAX;
use crate::tenancy::{HeldPermits, Precondition, Share, Write};

/// Arguments that a face has received and not read yet. The face knows how to read them; the operation decides when, and
/// on which thread.
pub struct Input<T> {
    bytes: usize,
    read: Box<dyn FnOnce() -> Result<T, Error> + Send>,
    /// What the request holds of the node's memory, until the operation is done.
    held: Option<Arc<HeldMemory>>,
}

impl<T> fmt::Debug for Input<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<T> Input<T> {
    /// Arguments of so many bytes, which `read` makes of what was sent.
    pub(crate) fn new(
        bytes: usize,
        held: Option<Arc<HeldMemory>>,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Self {
        Self { bytes, read: Box::new(read), held }
    }

    /// Whether reading them is more work than an async thread may do.
    pub(super) fn is_large(&self) -> bool {
        self.bytes > INLINE_BYTES_MAX
    }
}

/// What must hold for a write to be done, and to be done only once.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The key under which it is done once, and the hash of the request.
    pub idempotency: Option<Idempotency>,
    /// What must hold of the collection.
    pub precondition: Option<Precondition>,
}

impl Conditions {
    pub(super) fn write<C>(
        self,
        collection: vectorizer_log::CollectionName,
        change: C,
        room: HeldPermits,
    ) -> Write<C> {
        let Self { idempotency, precondition } = self;
        Write { collection, change, idempotency, precondition, room }
    }
}

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A key under which a write is done once: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key, if it is one.
    pub fn new(key: impl Into<String>) -> Option<Self> {
        let key = key.into();
        let is_printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        (is_printable && (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())).then_some(Self(key))
    }

    /// The key with a hash of everything that makes the request the one that it is. Takes time in proportion to that.
    pub fn of_request(self, pieces: [&[u8]; 3]) -> Idempotency {
        let mut hasher = blake3::Hasher::new();
        for piece in pieces {
            hasher.update(&(piece.len() as u64).to_le_bytes()).update(piece);
        }
        Idempotency { key: self.0, body_hash: *hasher.finalize().as_bytes() }
    }
}

impl Service {
    /// Reads and checks arguments on a thread that they may take the time of; and what they hold of the node's memory.
    pub(super) async fn read<T: 'static, U: Send + 'static>(
        &self,
        share: &Share,
        input: Input<T>,
        check: impl FnOnce(T) -> Result<U, Error> + Send + 'static,
    ) -> Result<(U, HeldPermits), Error> {
        let Input { bytes, read, held } = input;
        let kept = held.clone();
        let work = move || {
            let checked = read().and_then(check);
            drop(kept);
            checked
        };
        Ok((self.work_pools().run(share, bytes, work).await?, HeldPermits::of(held)))
    }
}
