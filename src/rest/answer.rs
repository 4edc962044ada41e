//! Answers as JSON.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::Problem;
use crate::service::{AnswerMemory, HeldAnswer};

/// A JSON answer that is small whatever it says.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => in_json(status, bytes.into()),
        Err(error) => unwritten(&error).into_response(),
    }
}

/// A JSON answer that is expected to have about so many bytes. A large one holds memory until it is sent.
pub(super) fn large_json<T: Serialize>(
    memory: &AnswerMemory,
    expected: usize,
    body: &T,
) -> Result<Response, Problem> {
    let mut held = memory.hold(expected)?;
    let mut bytes = Vec::with_capacity(expected);
    serde_json::to_writer(&mut bytes, body).map_err(|error| unwritten(&error))?;
    bytes.shrink_to_fit();
    let is_held = held.settle(bytes.len(), memory)?;
    let bytes = if is_held { Bytes::from_owner(Sent { bytes, _held: held }) } else { bytes.into() };
    Ok(in_json(StatusCode::OK, bytes))
}

fn in_json(status: StatusCode, bytes: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

fn unwritten(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "an answer could not be written as JSON");
    Problem::internal()
}

/// An answer that is being sent: its bytes, and the memory that is given back with them.
struct Sent {
    bytes: Vec<u8>,
    _held: HeldAnswer,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
