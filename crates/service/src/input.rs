//! The arguments of operations.

use std::fmt;
use std::sync::Arc;

use vectorizer_engine::tenancy::{HeldPermits, Precondition, Share, Write};
use vectorizer_log::Idempotency;

use super::Service;
use super::error::Error;
use super::request_memory::MemoryPermit;
use super::work::INLINE_BYTES_MAX;

/// Arguments that a face has received and not parsed yet. The face provides the parser; the operation decides when it
/// runs, and on which thread.
pub struct Input<T> {
    bytes: usize,
    read: Box<dyn FnOnce() -> Result<T, Error> + Send>,
    /// The request's memory permit, held until the operation is done.
    held: Option<Arc<MemoryPermit>>,
}

impl<T> fmt::Debug for Input<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<T> Input<T> {
    /// Arguments of this size, which `read` parses.
    pub fn new(
        bytes: usize,
        held: Option<Arc<MemoryPermit>>,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Self {
        Self { bytes, read: Box::new(read), held }
    }

    /// Whether parsing them is too much work for an async thread.
    pub(super) fn is_large(&self) -> bool {
        self.bytes > INLINE_BYTES_MAX
    }
}

/// The conditions of a write.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The idempotency key, and the hash of the request.
    pub idempotency: Option<Idempotency>,
    /// The precondition on the collection.
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

/// An idempotency key: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Returns the key if it is valid.
    pub fn new(key: impl Into<String>) -> Option<Self> {
        let key = key.into();
        let is_printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        (is_printable && (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())).then_some(Self(key))
    }

    /// The key with the hash of the request's pieces. Takes time in proportion to their length.
    pub fn of_request(self, pieces: [&[u8]; 3]) -> Idempotency {
        let mut hasher = blake3::Hasher::new();
        for piece in pieces {
            hasher.update(&(piece.len() as u64).to_le_bytes()).update(piece);
        }
        Idempotency { key: self.0, body_hash: *hasher.finalize().as_bytes() }
    }
}

impl Service {
    /// Parses and checks arguments on a thread that fits their size. Also returns the memory that they hold.
    pub(super) async fn read<T: 'static, U: Send + 'static>(
        &self,
        share: &Share,
        input: Input<T>,
        check: impl FnOnce(T) -> Result<U, Error> + Send + 'static,
    ) -> Result<(U, HeldPermits), Error> {
        let Input { bytes, read, held } = input;
        let checked = self.work(share, bytes, held.clone(), move || read().and_then(check)).await?;
        Ok((checked, HeldPermits::of(held)))
    }

    /// Does work on this many bytes of a request, on a thread that fits their number. What the request has `held` stays
    /// held until the work is done, even if its caller is gone.
    pub async fn work<T, E>(
        &self,
        share: &Share,
        bytes: usize,
        held: impl Send + 'static,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let work = move || {
            let done = work();
            drop(held);
            done
        };
        self.work_pools().run(share, bytes, work).await
    }
}
