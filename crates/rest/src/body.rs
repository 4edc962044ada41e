//! Request bodies and query parameters: size limits, timeouts, and errors that name the field.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};
use vectorizer_engine::tenancy::Share;
use vectorizer_scheduling::StreamBudget;
use vectorizer_service::{
    Error, INLINE_BYTES_MAX, Input, MEDIUM_BYTES_MAX, MemoryPermit, Readmission, Service, kibibytes,
};
use vectorizer_wire::read::read_body;

use super::App;
use super::encoding::{Decompressor, Encoding};
use super::middleware::auth::share;
use super::problem::Problem;

/// How long the server waits for the data of a body: this long, and one second more for each
/// `BODY_BYTES_PER_SECOND_MIN` bytes received.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_BYTES_PER_SECOND_MIN: usize = 16 * 1024;
/// The longest pause between two pieces of a body.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Access is checked again after reading a body that took longer than this.
const READMISSION_AFTER: Duration = Duration::from_secs(1);

/// A complete body, with the memory permit that it holds.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// The body.
    pub bytes: Bytes,
    held: Arc<MemoryPermit>,
}

impl RequestBody {
    /// Reads a body of at most `body_bytes_max` bytes. A body that pauses or trickles times out.
    ///
    /// The node's memory is charged as bytes arrive, so a client holds no more than it has sent. The tenant's share is
    /// charged with the whole `Content-Length` before the first byte is read. So half-read bodies of a tenant never
    /// wait for each other, and only that tenant waits.
    pub(super) async fn read(
        service: &Service,
        parts: &Parts,
        body: Body,
        share: Share,
    ) -> Result<Self, Problem> {
        Self::charged(service, parts, body, share, service.limits().body_bytes_max, 1).await
    }

    /// Reads a body of at most `bytes_max` bytes, compressed and decompressed, for the tenant of this share. Each byte
    /// is charged as `charge_factor` bytes.
    pub(super) async fn charged(
        service: &Service,
        parts: &Parts,
        mut body: Body,
        share: Share,
        bytes_max: usize,
        charge_factor: usize,
    ) -> Result<Self, Problem> {
        let too_large =
            || Error::too_large("body-too-large", format!("the body has more than {bytes_max} bytes"));
        let (memory, work) = (service.request_memory(), service.work_pools());
        let encoding = Encoding::of(&parts.headers)?;
        let stated = parts.headers.get(header::CONTENT_LENGTH);
        let stated: Option<usize> = stated.and_then(|value| value.to_str().ok()?.parse().ok());
        if stated.is_some_and(|stated| stated > bytes_max) {
            return Err(too_large().into());
        }
        let stated = stated.unwrap_or(0);
        let mut held = memory.reserve(&share, kibibytes(charge_factor * stated)).await?;
        let mut received = BodyBuffer::default();
        let (mut waited, mut budget) = (Duration::ZERO, StreamBudget::default());
        let started = Instant::now();
        while let Some(data) = next_data(&mut body, received.bytes, &mut waited).await? {
            if received.bytes + data.len() > bytes_max {
                return Err(too_large().into());
            }
            held.grow_to(kibibytes(charge_factor * (received.bytes + data.len()))).await?;
            received.add(&data);
            budget.spend(data.len()).await;
        }
        let received_bytes = received.bytes;
        let whole = move || Ok::<_, Error>(received.into_bytes());
        let mut bytes = work.run(&share, received_bytes, whole).await?;
        if let Some(encoding) = encoding {
            let compressed = charge_factor * bytes.len() + encoding.window_bytes(&bytes);
            let expected = encoding.expected_bytes(&bytes).min(bytes_max);
            // Charge the whole size at once: bodies that each hold a part would wait for each other.
            let charged =
                |bytes| kibibytes(compressed + charge_factor * bytes).min(service.limits().share_kibibytes());
            held.replace_share(charged(expected)).await?;
            let mut decompressor = Decompressor::new(encoding, bytes)?;
            // A small body is decompressed on this thread, a larger one on the pool for medium inputs, in turns with
            // others.
            let mut piece = INLINE_BYTES_MAX;
            loop {
                held.grow_to(charged(decompressor.bytes.len() + piece)).await?;
                let is_end;
                let step = move || decompressor.step(piece).map(|is_end| (decompressor, is_end));
                (decompressor, is_end) = work.run(&share, piece, step).await?;
                if decompressor.bytes.len() > bytes_max {
                    return Err(too_large().into());
                }
                if is_end {
                    break;
                }
                piece = MEDIUM_BYTES_MAX;
            }
            bytes = decompressor.bytes.into();
        }
        // The key may have been revoked in the meantime.
        if started.elapsed() > READMISSION_AFTER
            && let Some(readmission) = parts.extensions.get::<Readmission>()
        {
            readmission.check().await?;
        }
        Ok(Self { bytes, held: Arc::new(held) })
    }

    /// The memory permit. Hold it for as long as anything derived from the body is in memory.
    pub(super) fn held(&self) -> Arc<MemoryPermit> {
        Arc::clone(&self.held)
    }

    /// Arguments that `read` parses from the body.
    pub(super) fn input<T>(self, read: impl FnOnce(&[u8]) -> Result<T, Error> + Send + 'static) -> Input<T> {
        let Self { bytes, held } = self;
        Input::new(bytes.len(), Some(held), move || read(&bytes))
    }

    /// Arguments that `check` makes from the body's JSON.
    pub(super) fn json<T: DeserializeOwned, U>(
        self,
        check: impl FnOnce(T) -> Result<U, Error> + Send + 'static,
    ) -> Input<U> {
        self.input(|bytes| check(read_body(bytes)?))
    }

    /// No arguments. The body is ignored.
    pub(super) fn nothing(self) -> Input<()> {
        Input::new(0, Some(self.held), || Ok(()))
    }
}

/// The received part of a body, in blocks: a single growing buffer would be copied by an async thread each time it
/// grows.
#[derive(Default)]
struct BodyBuffer {
    blocks: Vec<Vec<u8>>,
    bytes: usize,
}

impl BodyBuffer {
    const BLOCK_BYTES_MIN: usize = 4 * 1024;
    const BLOCK_BYTES_MAX: usize = 128 * 1024;

    fn add(&mut self, mut data: &[u8]) {
        self.bytes += data.len();
        while !data.is_empty() {
            let block = match self.blocks.last_mut() {
                Some(block) if block.len() < block.capacity() => block,
                // Most bodies arrive in one piece.
                None => self.blocks.push_mut(Vec::with_capacity(data.len().min(Self::BLOCK_BYTES_MAX))),
                // As large as the bytes so far, so that at least half of the allocated memory is charged.
                Some(_) => self.blocks.push_mut(Vec::with_capacity(
                    self.bytes.clamp(Self::BLOCK_BYTES_MIN, Self::BLOCK_BYTES_MAX),
                )),
            };
            let (fits, rest) = data.split_at(data.len().min(block.capacity() - block.len()));
            block.extend_from_slice(fits);
            data = rest;
        }
    }

    /// The bytes in one piece. Copies them if there is more than one block.
    fn into_bytes(mut self) -> Bytes {
        if self.blocks.len() <= 1 {
            return self.blocks.pop().unwrap_or_default().into();
        }
        let mut whole = Vec::with_capacity(self.bytes);
        for block in self.blocks {
            whole.extend_from_slice(&block);
        }
        whole.into()
    }
}

fn incomplete() -> Problem {
    Problem::malformed("body-incomplete", "the connection closed before the end of the body")
}

/// Reads the next piece of a body after `received` bytes. `waited` counts the time spent waiting for the client; time
/// spent waiting for memory does not count.
async fn next_data(
    body: &mut Body,
    received: usize,
    waited: &mut Duration,
) -> Result<Option<Bytes>, Problem> {
    let earned = Duration::from_secs((received / BODY_BYTES_PER_SECOND_MIN) as u64);
    loop {
        let started = Instant::now();
        let left = (BODY_TIMEOUT + earned).saturating_sub(*waited);
        let frame = timeout(PAUSE_MAX.min(left), body.frame()).await;
        *waited += started.elapsed();
        match frame {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(incomplete()),
            Err(_) => {
                let detail = "the body did not arrive in time";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail));
            }
        }
    }
}

/// Returns the body's media type if it is one of `expected`, or an error.
pub(super) fn expect_content_type(
    headers: &HeaderMap,
    expected: &[&'static str],
) -> Result<&'static str, Problem> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = sent.split(';').next().unwrap_or("").trim();
    expected.iter().find(|known| essence.eq_ignore_ascii_case(known)).copied().ok_or_else(|| {
        let detail = format!("Content-Type is {sent:?}, it must be {}", expected.join(" or "));
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-content-type", detail)
    })
}

/// A body with `Content-Type: application/json`.
pub(super) struct JsonBody(pub RequestBody);

impl FromRequest<App> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        expect_content_type(&parts.headers, &["application/json"])?;
        let share = share(&mut parts)?;
        Ok(Self(RequestBody::read(app.service(), &parts, body, share).await?))
    }
}

/// The query's parameters. Unknown parameters are an error.
pub(super) struct Parameters<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::malformed("invalid-parameter", "the query cannot be read"))?;
        let parameters = vectorizer_json::parameters(pairs);
        parameters.map(Self).map_err(|wrong| Problem::malformed("invalid-parameter", wrong.to_string()))
    }
}

/// Rejects query parameters on routes that have none: a client that sends one expects an effect.
pub(super) async fn reject_parameters(request: Request, next: Next) -> Response {
    match request.uri().query() {
        None | Some("") => next.run(request).await,
        Some(query) => {
            let name = query.split(['=', '&']).next().unwrap_or_default();
            let detail = format!("unknown parameter {name:?}: this operation has no parameters");
            Problem::malformed("invalid-parameter", detail).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_pieces_is_joined_and_allocates_at_most_twice_the_received_bytes() {
        for pieces in
            [&[][..], &[5], &[1, 1, 1], &[40_000, 3], &[1, 200_000, 130_000, 7, 131_072], &[300_000; 9]]
        {
            let (mut received, mut sent) = (BodyBuffer::default(), Vec::new());
            for (nth, length) in (0_u8..).zip(pieces) {
                let piece: Vec<u8> = (0..=u8::MAX).map(|at| at ^ nth).cycle().take(*length).collect();
                received.add(&piece);
                sent.extend(piece);
                let held: usize = received.blocks.iter().map(Vec::capacity).sum();
                assert!(held <= 2 * sent.len() + BodyBuffer::BLOCK_BYTES_MIN, "{held} for {}", sent.len());
            }
            assert_eq!(received.bytes, sent.len());
            assert_eq!(received.into_bytes(), sent, "{pieces:?}");
        }
    }
}
