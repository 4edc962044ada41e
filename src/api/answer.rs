//! Answers: how large one may be, how it is written, and what it takes up until it is sent.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vectorizer_index::StoredPoint;

use super::problem::Problem;
use super::room::kibibytes;
use crate::metrics::Room;
use crate::scheduling::in_bulk;

/// The largest answer that is made in one piece, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Answers above this are written away from the async threads, and are counted.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// What all answers on their way may take up.
const NODE_BYTES_MAX: usize = 4 * ANSWER_BYTES_MAX;
/// What those of one tenant may: one of the largest, also if it is a quarter larger than expected.
pub(super) const TENANT_BYTES_MAX: usize = ANSWER_BYTES_MAX + ANSWER_BYTES_MAX / 4;

/// Every tenant's share of the room for answers, in KiB.
pub(super) const SHARE_KIBIBYTES: usize = TENANT_BYTES_MAX / 1024;

/// The node's room for answers, in KiB.
pub(super) fn node_room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(NODE_BYTES_MAX / 1024))
}

/// The node's room for answers, and how much of it is taken.
pub(super) fn measured_room(node: &Semaphore) -> Room {
    let taken = NODE_BYTES_MAX - 1024 * node.available_permits();
    Room { name: "answers", bytes: NODE_BYTES_MAX, used_bytes: taken }
}

/// What of each point is shown beside its id.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// Its payload.
    pub payload: bool,
    /// Its text.
    pub text: bool,
    /// Its vector.
    pub vector: bool,
}

impl Show {
    /// What is asked for: payloads and texts unless they are not wanted, vectors only if they are.
    pub fn asked(with_payload: Option<bool>, with_text: Option<bool>, with_vector: Option<bool>) -> Self {
        Self {
            payload: with_payload.unwrap_or(true),
            text: with_text.unwrap_or(true),
            vector: with_vector.unwrap_or(false),
        }
    }
}

/// About how many bytes of JSON show this point.
pub(super) fn shown_bytes(point: &StoredPoint, show: Show) -> usize {
    /// A number, with its comma; most f32 have eight or nine digits.
    const NUMBER_BYTES: usize = 12;
    let payload = point.payload().filter(|_| show.payload).map_or(0, |payload| payload.as_str().len());
    let text = point.text().filter(|_| show.text).map_or(0, |text| text.as_str().len());
    let vector = if show.vector { NUMBER_BYTES * point.vector().len() } else { 0 };
    64 + point.id().len() + payload + text + vector
}

/// Refuses an answer of about this many bytes if nobody should hold so much.
pub(super) fn expect_answer(bytes: usize) -> Result<(), Problem> {
    if bytes <= ANSWER_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "the answer would have about {bytes} bytes, at most {ANSWER_BYTES_MAX} are given at once; ask for \
         fewer results, or without vectors or payloads"
    );
    Err(Problem::invalid("answer-too-large", detail))
}

/// A JSON answer that is small whatever it says.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => in_json(status, bytes.into()),
        Err(error) => unwritten(&error).into_response(),
    }
}

fn in_json(status: StatusCode, bytes: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

fn unwritten(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "an answer could not be written as JSON");
    Problem::internal()
}

/// Makes an answer of about this many bytes: at once if that is short work, else away from the async
/// threads.
pub(super) async fn made(
    bytes: usize,
    make: impl FnOnce() -> Result<Response, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    if bytes <= INLINE_BYTES_MAX {
        return make();
    }
    in_bulk(make).await.unwrap_or_else(|_| Err(Problem::internal()))
}

/// Where large answers of one tenant get their room.
#[derive(Clone, Debug)]
pub(super) struct AnswerRoom {
    pub(super) node: Arc<Semaphore>,
    pub(super) share: Arc<Semaphore>,
}

impl AnswerRoom {
    /// A JSON answer that is expected to have about so many bytes. A large one takes room until it is
    /// sent, and nobody waits for that: the room is held by clients, who may be slow.
    pub(super) fn json<T: Serialize>(&self, expected: usize, body: &T) -> Result<Response, Problem> {
        expect_answer(expected)?;
        let mut taken = self.take(needed(expected))?;
        let mut bytes = Vec::with_capacity(expected);
        serde_json::to_writer(&mut bytes, body).map_err(|error| unwritten(&error))?;
        bytes.shrink_to_fit();
        // Numbers may be longer than expected; beyond the share it would never be given.
        if bytes.len() > TENANT_BYTES_MAX {
            expect_answer(bytes.len())?;
        }
        let needed = needed(bytes.len());
        if needed == 0 {
            return Ok(in_json(StatusCode::OK, bytes.into()));
        }
        taken.settle(needed, self)?;
        Ok(in_json(StatusCode::OK, Bytes::from_owner(Sent { bytes, _taken: taken })))
    }

    fn take(&self, kibibytes: u32) -> Result<Taken, Problem> {
        let take = |room: &Arc<Semaphore>| {
            Arc::clone(room)
                .try_acquire_many_owned(kibibytes)
                .map_err(|_| Problem::unavailable("busy", "too many large answers are being sent", 1))
        };
        Ok(Taken { share: take(&self.share)?, node: take(&self.node)? })
    }
}

/// The room an answer needs, in KiB. Small ones are not worth counting: connections are.
fn needed(bytes: usize) -> u32 {
    if bytes <= INLINE_BYTES_MAX { 0 } else { kibibytes(bytes) }
}

/// Room of the tenant's share and as much of the node's.
#[derive(Debug)]
struct Taken {
    share: OwnedSemaphorePermit,
    node: OwnedSemaphorePermit,
}

impl Taken {
    /// Makes it `needed` KiB, now that it is known how many there are.
    fn settle(&mut self, needed: u32, room: &AnswerRoom) -> Result<(), Problem> {
        let held = u32::try_from(self.node.num_permits()).unwrap_or(u32::MAX);
        let more = room.take(needed.saturating_sub(held))?;
        self.share.merge(more.share);
        self.node.merge(more.node);
        let spare = held.saturating_sub(needed) as usize;
        drop((self.share.split(spare), self.node.split(spare)));
        Ok(())
    }
}

/// An answer on its way: its bytes, and the room that is given back with them.
struct Sent {
    bytes: Vec<u8>,
    _taken: Taken,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(share_kibibytes: usize) -> AnswerRoom {
        AnswerRoom { node: node_room(), share: Arc::new(Semaphore::new(share_kibibytes)) }
    }

    #[tokio::test]
    async fn an_answer_holds_the_room_it_needs_for_as_long_as_its_bytes() {
        let room = room(1_000);
        let body = "x".repeat(600 * 1024 - 2);
        // Expected smaller and larger than it is.
        for expected in [100, 300 * 1024, 900 * 1024] {
            let answer = room.json(expected, &body).unwrap();
            assert_eq!(room.share.available_permits(), 400);
            assert_eq!(room.node.available_permits(), NODE_BYTES_MAX / 1024 - 600);
            assert!(format!("{:?}", room.json(expected, &body).unwrap_err()).contains("\"busy\""));
            assert_eq!(room.json(10, &"small").unwrap().status(), 200);
            let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            assert_eq!(room.share.available_permits(), 400);
            drop(bytes);
            assert_eq!(room.share.available_permits(), 1_000);
        }
    }
}
