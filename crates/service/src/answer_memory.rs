//! Memory for answers: the size limit of an answer, and the permits that large answers hold until they are sent.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vectorizer_index::StoredPoint;
use vectorizer_metrics::Room;

use super::error::Error;
use super::request_memory::kibibytes;

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Larger answers are serialized away from the async threads and hold a permit.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;
/// The memory of all large answers that are being sent.
const NODE_BYTES_MAX: usize = 4 * ANSWER_BYTES_MAX;
/// The memory of one tenant's large answers: one of the largest, even if it is a quarter larger than estimated.
const TENANT_BYTES_MAX: usize = ANSWER_BYTES_MAX + ANSWER_BYTES_MAX / 4;

/// Every tenant's share of the memory for answers, in KiB.
pub(super) const SHARE_KIBIBYTES: usize = TENANT_BYTES_MAX / 1024;

/// The node's memory for answers, in KiB.
pub(super) fn of_node() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(NODE_BYTES_MAX / 1024))
}

/// The node's memory for answers, and how much of it is in use.
pub(super) fn usage(node: &Semaphore) -> Room {
    let held = NODE_BYTES_MAX - 1024 * node.available_permits();
    Room { name: "answers", bytes: NODE_BYTES_MAX, used_bytes: held }
}

/// Which parts of a point an answer includes beside its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Show {
    /// The payload.
    pub payload: bool,
    /// The text.
    pub text: bool,
    /// The vector.
    pub vector: bool,
}

impl Show {
    /// By default an answer includes payloads and texts, but no vectors.
    pub fn with_defaults(
        with_payload: Option<bool>,
        with_text: Option<bool>,
        with_vector: Option<bool>,
    ) -> Self {
        Self {
            payload: with_payload.unwrap_or(true),
            text: with_text.unwrap_or(true),
            vector: with_vector.unwrap_or(false),
        }
    }
}

/// The approximate size of this point in JSON, in bytes.
pub fn shown_bytes(point: &StoredPoint, show: Show) -> usize {
    /// A number with its comma: most f32 have eight or nine digits.
    const NUMBER_BYTES: usize = 12;
    let payload = point.payload().filter(|_| show.payload).map_or(0, |payload| payload.as_str().len());
    let text = point.text().filter(|_| show.text).map_or(0, |text| text.as_str().len());
    let vector = if show.vector { NUMBER_BYTES * point.vector().len() } else { 0 };
    64 + point.id().len() + payload + text + vector
}

/// Checks an answer's estimated size against the limit.
pub(crate) fn check_answer_size(bytes: usize) -> Result<(), Error> {
    if bytes <= ANSWER_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "the answer would have about {bytes} bytes, the limit is {ANSWER_BYTES_MAX}; request fewer results, or no \
         vectors or payloads"
    );
    Err(Error::invalid("answer-too-large", detail))
}

/// The memory for large answers of one tenant.
#[derive(Clone, Debug)]
pub struct AnswerMemory {
    pub(super) node: Arc<Semaphore>,
    pub(super) share: Arc<Semaphore>,
}

impl AnswerMemory {
    /// Reserves memory for an answer of about `expected` bytes. It does not wait: an answer holds its memory until its
    /// client, which may be slow, has read it.
    pub fn reserve(&self, expected: usize) -> Result<AnswerPermit, Error> {
        check_answer_size(expected)?;
        self.take(needed(expected))
    }

    fn take(&self, kibibytes: u32) -> Result<AnswerPermit, Error> {
        let take = |memory: &Arc<Semaphore>| {
            Arc::clone(memory)
                .try_acquire_many_owned(kibibytes)
                .map_err(|_| Error::unavailable("busy", "too many large answers are being sent", 1))
        };
        Ok(AnswerPermit { share: take(&self.share)?, node: take(&self.node)? })
    }
}

/// The memory to reserve for an answer, in KiB. Small answers need none: the number of connections bounds them.
fn needed(bytes: usize) -> u32 {
    if bytes <= INLINE_BYTES_MAX { 0 } else { kibibytes(bytes) }
}

/// Reserved memory, of the tenant's share and of the node.
#[derive(Debug)]
pub struct AnswerPermit {
    share: OwnedSemaphorePermit,
    node: OwnedSemaphorePermit,
}

impl AnswerPermit {
    /// Adjusts the permit to an answer of exactly `bytes` bytes. Returns whether the answer needs a permit at all.
    pub fn resize(&mut self, bytes: usize, memory: &AnswerMemory) -> Result<bool, Error> {
        // Numbers may be longer than estimated. Check again, as the share never has more permits than this.
        if bytes > TENANT_BYTES_MAX {
            check_answer_size(bytes)?;
        }
        let needed = needed(bytes);
        let held = u32::try_from(self.node.num_permits()).unwrap_or(u32::MAX);
        let more = memory.take(needed.saturating_sub(held))?;
        self.share.merge(more.share);
        self.node.merge(more.node);
        let spare = held.saturating_sub(needed) as usize;
        drop((self.share.split(spare), self.node.split(spare)));
        Ok(needed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_its_memory_until_it_is_dropped() {
        let memory = AnswerMemory { node: of_node(), share: Arc::new(Semaphore::new(1_000)) };
        // The estimate is too low or too high.
        for expected in [100, 300 * 1024, 900 * 1024] {
            let mut held = memory.reserve(expected).unwrap();
            assert!(held.resize(600 * 1024, &memory).unwrap());
            assert_eq!(memory.share.available_permits(), 400);
            assert_eq!(memory.node.available_permits(), NODE_BYTES_MAX / 1024 - 600);
            assert_eq!(memory.reserve(600 * 1024).unwrap_err().code(), "busy");
            let mut small = memory.reserve(10).unwrap();
            assert!(!small.resize(INLINE_BYTES_MAX, &memory).unwrap());
            drop(held);
            assert_eq!(memory.share.available_permits(), 1_000);
        }
    }
}
