//! Answers as JSON.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use vectorizer_service::{AnswerMemory, AnswerPermit};

use super::problem::Problem;

/// Returns a JSON answer of a type whose answers are always small.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_response(status, bytes.into()),
        Err(error) => serialization_failed(&error).into_response(),
    }
}

/// Returns a JSON answer of about `expected` bytes. A large answer holds a memory permit until it is sent.
pub(super) fn large_json<T: Serialize>(
    memory: &AnswerMemory,
    expected: usize,
    body: &T,
) -> Result<Response, Problem> {
    let mut held = memory.reserve(expected)?;
    let mut bytes = Vec::with_capacity(expected);
    serde_json::to_writer(&mut bytes, body).map_err(|error| serialization_failed(&error))?;
    bytes.shrink_to_fit();
    let is_held = held.resize(bytes.len(), memory)?;
    let bytes = if is_held { Bytes::from_owner(Sent { bytes, _held: held }) } else { bytes.into() };
    Ok(json_response(StatusCode::OK, bytes))
}

fn json_response(status: StatusCode, bytes: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

fn serialization_failed(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "an answer could not be written as JSON");
    Problem::internal()
}

/// The bytes of an answer, with the memory permit that is released when they have been sent.
struct Sent {
    bytes: Vec<u8>,
    _held: AnswerPermit,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
