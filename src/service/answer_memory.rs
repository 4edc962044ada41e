//! Memory for answers: how large one may be, and what large ones hold until they are sent.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vectorizer_index::StoredPoint;

use super::error::Error;
use super::request_memory::kibibytes;
use crate::metrics::Room;

/// The largest answer that is made in one piece, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Larger answers are written away from the async threads, and are counted.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;
/// What all answers that are being sent may take up.
const NODE_BYTES_MAX: usize = 4 * ANSWER_BYTES_MAX;
/// What those of one tenant may take up: one of the largest, also if it is a quarter larger than expected.
const TENANT_BYTES_MAX: usize = ANSWER_BYTES_MAX + ANSWER_BYTES_MAX / 4;

/// Every tenant's share of the memory for answers, in KiB.
pub(super) const SHARE_KIBIBYTES: usize = TENANT_BYTES_MAX / 1024;

/// The node's memory for answers, in KiB.
pub(super) fn of_node() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(NODE_BYTES_MAX / 1024))
}

/// The node's memory for answers, and how much of it is held.
pub(super) fn measured(node: &Semaphore) -> Room {
    let held = NODE_BYTES_MAX - 1024 * node.available_permits();
    Room { name: "answers", bytes: NODE_BYTES_MAX, used_bytes: held }
}

/// Which parts of each point are shown beside its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Show {
    /// Its payload.
    pub payload: bool,
    /// Its text.
    pub text: bool,
    /// Its vector.
    pub vector: bool,
}

impl Show {
    /// Payloads and texts unless they are not wanted, vectors only if they are.
    pub fn asked(with_payload: Option<bool>, with_text: Option<bool>, with_vector: Option<bool>) -> Self {
        Self {
            payload: with_payload.unwrap_or(true),
            text: with_text.unwrap_or(true),
            vector: with_vector.unwrap_or(false),
        }
    }
}

/// About how many bytes of JSON show this point.
pub(crate) fn shown_bytes(point: &StoredPoint, show: Show) -> usize {
    /// A number, with its comma; most f32 have eight or nine digits.
    const NUMBER_BYTES: usize = 12;
    let payload = point.payload().filter(|_| show.payload).map_or(0, |payload| payload.as_str().len());
    let text = point.text().filter(|_| show.text).map_or(0, |text| text.as_str().len());
    let vector = if show.vector { NUMBER_BYTES * point.vector().len() } else { 0 };
    64 + point.id().len() + payload + text + vector
}

/// Refuses an answer of about so many bytes if it is larger than any answer may be.
pub(crate) fn expect_answer(bytes: usize) -> Result<(), Error> {
    if bytes <= ANSWER_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "the answer would have about {bytes} bytes, at most {ANSWER_BYTES_MAX} are given at once; ask for \
         fewer results, or without vectors or payloads"
    );
    Err(Error::invalid("answer-too-large", detail))
}

/// Where large answers of one tenant get their memory.
#[derive(Clone, Debug)]
pub(crate) struct AnswerMemory {
    pub(super) node: Arc<Semaphore>,
    pub(super) share: Arc<Semaphore>,
}

impl AnswerMemory {
    /// Memory for an answer that is expected to have about so many bytes. No answer waits for it: clients, who may be
    /// slow, hold it until they have read theirs.
    pub(crate) fn hold(&self, expected: usize) -> Result<HeldAnswer, Error> {
        expect_answer(expected)?;
        self.take(needed(expected))
    }

    fn take(&self, kibibytes: u32) -> Result<HeldAnswer, Error> {
        let take = |memory: &Arc<Semaphore>| {
            Arc::clone(memory)
                .try_acquire_many_owned(kibibytes)
                .map_err(|_| Error::unavailable("busy", "too many large answers are being sent", 1))
        };
        Ok(HeldAnswer { share: take(&self.share)?, node: take(&self.node)? })
    }
}

/// The memory that an answer needs, in KiB. Small ones are not counted: connections are.
fn needed(bytes: usize) -> u32 {
    if bytes <= INLINE_BYTES_MAX { 0 } else { kibibytes(bytes) }
}

/// Memory of the tenant's share and as much of the node's.
#[derive(Debug)]
pub(crate) struct HeldAnswer {
    share: OwnedSemaphorePermit,
    node: OwnedSemaphorePermit,
}

impl HeldAnswer {
    /// Makes it as much as an answer of exactly `bytes` bytes needs. False if that is nothing.
    pub(crate) fn settle(&mut self, bytes: usize, memory: &AnswerMemory) -> Result<bool, Error> {
        // Numbers may be longer than expected; more than the share has would never be given.
        if bytes > TENANT_BYTES_MAX {
            expect_answer(bytes)?;
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
    fn an_answer_holds_the_memory_it_needs_until_it_is_dropped() {
        let memory = AnswerMemory { node: of_node(), share: Arc::new(Semaphore::new(1_000)) };
        // Expected smaller and larger than it is.
        for expected in [100, 300 * 1024, 900 * 1024] {
            let mut held = memory.hold(expected).unwrap();
            assert!(held.settle(600 * 1024, &memory).unwrap());
            assert_eq!(memory.share.available_permits(), 400);
            assert_eq!(memory.node.available_permits(), NODE_BYTES_MAX / 1024 - 600);
            assert_eq!(memory.hold(600 * 1024).unwrap_err().code(), "busy");
            let mut small = memory.hold(10).unwrap();
            assert!(!small.settle(INLINE_BYTES_MAX, &memory).unwrap());
            drop(held);
            assert_eq!(memory.share.available_permits(), 1_000);
        }
    }
}
