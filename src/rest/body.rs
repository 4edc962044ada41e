//! Reading what a client sends: bounded, whole, and with errors that name the field.

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

use super::App;
use super::encoding::{Encoding, Unpacking};
use super::middleware::auth::share;
use super::problem::Problem;
use crate::json;
use crate::scheduling::StreamBudget;
use crate::service::{
    Error, HeldMemory, INLINE_BYTES_MAX, Input, MEDIUM_BYTES_MAX, Readmission, Service, kibibytes,
};
use crate::tenancy::Share;
use crate::wire::read::read_body;

/// How long a body may keep us waiting, beside a second for every so many bytes of it that have come.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
const BODY_BYTES_EACH_SECOND: usize = 16 * 1024;
/// How long it may pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a body may take before it is asked again whether its sender may.
const ADMITTED_FOR: Duration = Duration::from_secs(1);

/// A whole body, and the memory that it holds.
#[derive(Debug)]
pub(super) struct Received {
    /// The body.
    pub bytes: Bytes,
    held: Arc<HeldMemory>,
}

impl Received {
    /// Reads the body, at most `body_bytes_max` of it; neither a pause nor a trickle lasts for ever.
    ///
    /// Of the node's memory it takes as much as has arrived, so that no client holds more than it has sent. Of its
    /// tenant's share it takes all that is stated before the first byte is read: that makes only the tenant wait, and
    /// its bodies do not wait for each other half read.
    pub(super) async fn read(service: &Service, parts: &mut Parts, body: Body) -> Result<Self, Problem> {
        let share = share(parts)?;
        Self::charged(service, parts, body, share, service.limits().body_bytes_max, 1).await
    }

    /// Reads a body of at most `bytes_max`, packed and unpacked, for the tenant that has this share; each byte is
    /// charged for so many.
    pub(super) async fn charged(
        service: &Service,
        parts: &Parts,
        mut body: Body,
        share: Share,
        bytes_max: usize,
        charged_for: usize,
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
        let mut held = memory.begin(&share, kibibytes(charged_for * stated)).await?;
        let mut arrived = Arrived::default();
        let (mut waited, mut budget) = (Duration::ZERO, StreamBudget::default());
        let started = Instant::now();
        while let Some(data) = next_data(&mut body, arrived.bytes, &mut waited).await? {
            if arrived.bytes + data.len() > bytes_max {
                return Err(too_large().into());
            }
            held.hold(kibibytes(charged_for * (arrived.bytes + data.len()))).await?;
            arrived.add(&data);
            budget.spend(data.len()).await;
        }
        let arrived_bytes = arrived.bytes;
        let whole = move || Ok::<_, Error>(arrived.whole());
        let mut bytes = work.run(&share, arrived_bytes, whole).await?;
        if let Some(encoding) = encoding {
            let packed = charged_for * bytes.len() + encoding.window_bytes(&bytes);
            let expected = encoding.expected_bytes(&bytes).min(bytes_max);
            // All at once: bodies of a tenant that each hold a part do not wait for each other.
            let charged =
                |bytes| kibibytes(packed + charged_for * bytes).min(service.limits().share_kibibytes());
            held.share_anew(charged(expected)).await?;
            let mut unpacking = Unpacking::new(encoding, bytes)?;
            // A small body is unpacked on the spot, a larger one in turns with other medium ones.
            let mut piece = INLINE_BYTES_MAX;
            loop {
                held.hold(charged(unpacking.bytes.len() + piece)).await?;
                let is_end;
                let step = move || unpacking.step(piece).map(|is_end| (unpacking, is_end));
                (unpacking, is_end) = work.run(&share, piece, step).await?;
                if unpacking.bytes.len() > bytes_max {
                    return Err(too_large().into());
                }
                if is_end {
                    break;
                }
                piece = MEDIUM_BYTES_MAX;
            }
            bytes = unpacking.bytes.into();
        }
        // A key may have been revoked meanwhile.
        if started.elapsed() > ADMITTED_FOR
            && let Some(readmission) = parts.extensions.get::<Readmission>()
        {
            readmission.check().await?;
        }
        Ok(Self { bytes, held: Arc::new(held) })
    }

    /// What it holds of the node's memory, for as long as anything is made of it.
    pub(super) fn held(&self) -> Arc<HeldMemory> {
        Arc::clone(&self.held)
    }

    /// The arguments that `read` makes of it.
    pub(super) fn input<T>(self, read: impl FnOnce(&[u8]) -> Result<T, Error> + Send + 'static) -> Input<T> {
        let Self { bytes, held } = self;
        Input::new(bytes.len(), Some(held), move || read(&bytes))
    }

    /// The arguments that `check` makes of its JSON.
    pub(super) fn json<T: DeserializeOwned, U>(
        self,
        check: impl FnOnce(T) -> Result<U, Error> + Send + 'static,
    ) -> Input<U> {
        self.input(|bytes| check(read_body(bytes)?))
    }

    /// No arguments: whatever was sent is not looked at.
    pub(super) fn nothing(self) -> Input<()> {
        Input::new(0, Some(self.held), || Ok(()))
    }
}

/// What has arrived of a body, in blocks: one buffer that grows would be copied by an async thread each time it does.
#[derive(Default)]
struct Arrived {
    blocks: Vec<Vec<u8>>,
    bytes: usize,
}

impl Arrived {
    const BLOCK_BYTES_MIN: usize = 4 * 1024;
    const BLOCK_BYTES_MAX: usize = 128 * 1024;

    fn add(&mut self, mut data: &[u8]) {
        self.bytes += data.len();
        while !data.is_empty() {
            let block = match self.blocks.last_mut() {
                Some(block) if block.len() < block.capacity() => block,
                // Most bodies are one piece.
                None => self.blocks.push_mut(Vec::with_capacity(data.len().min(Self::BLOCK_BYTES_MAX))),
                // Of as many bytes as have come, so that what is charged for is at least half of what is held.
                Some(_) => self.blocks.push_mut(Vec::with_capacity(
                    self.bytes.clamp(Self::BLOCK_BYTES_MIN, Self::BLOCK_BYTES_MAX),
                )),
            };
            let (fits, rest) = data.split_at(data.len().min(block.capacity() - block.len()));
            block.extend_from_slice(fits);
            data = rest;
        }
    }

    /// All of it, in one piece. Work in proportion to it if it has more than one.
    fn whole(mut self) -> Bytes {
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
    Problem::malformed("body-incomplete", "the body broke off")
}

/// The next piece of a body of which `received` bytes have come. `waited` is for how long we have waited
/// for the client so far; waiting for room is not its fault.
async fn next_data(
    body: &mut Body,
    received: usize,
    waited: &mut Duration,
) -> Result<Option<Bytes>, Problem> {
    let earned = Duration::from_secs((received / BODY_BYTES_EACH_SECOND) as u64);
    loop {
        let asked = Instant::now();
        let left = (BODY_PATIENCE + earned).saturating_sub(*waited);
        let frame = timeout(PAUSE_MAX.min(left), body.frame()).await;
        *waited += asked.elapsed();
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

/// Refuses a body that does not say it is one of `expected`; says which.
pub(super) fn expect_content_type(
    headers: &HeaderMap,
    expected: &[&'static str],
) -> Result<&'static str, Problem> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = sent.split(';').next().unwrap_or("").trim();
    expected.iter().find(|known| essence.eq_ignore_ascii_case(known)).copied().ok_or_else(|| {
        let detail = format!("Content-Type is {sent:?}, this takes {}", expected.join(" or "));
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-content-type", detail)
    })
}

/// A body that says it is JSON.
pub(super) struct JsonBody(pub Received);

impl FromRequest<App> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        expect_content_type(&parts.headers, &["application/json"])?;
        Ok(Self(Received::read(app.service(), &mut parts, body).await?))
    }
}

/// The query's parameters; unknown ones are refused.
pub(super) struct Parameters<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::malformed("invalid-parameter", "the query cannot be read"))?;
        let parameters = json::parameters(pairs);
        parameters.map(Self).map_err(|wrong| Problem::malformed("invalid-parameter", wrong.to_string()))
    }
}

/// For routes without parameters: one that is sent all the same was meant to do something.
pub(super) async fn refuse_parameters(request: Request, next: Next) -> Response {
    match request.uri().query() {
        None | Some("") => next.run(request).await,
        Some(query) => {
            let name = query.split(['=', '&']).next().unwrap_or_default();
            let detail = format!("unknown parameter {name:?}: this takes none");
            Problem::malformed("invalid-parameter", detail).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_comes_in_pieces_is_put_together_and_holds_at_most_twice_what_has_come() {
        for pieces in
            [&[][..], &[5], &[1, 1, 1], &[40_000, 3], &[1, 200_000, 130_000, 7, 131_072], &[300_000; 9]]
        {
            let (mut arrived, mut sent) = (Arrived::default(), Vec::new());
            for (nth, length) in (0_u8..).zip(pieces) {
                let piece: Vec<u8> = (0..=u8::MAX).map(|at| at ^ nth).cycle().take(*length).collect();
                arrived.add(&piece);
                sent.extend(piece);
                let held: usize = arrived.blocks.iter().map(Vec::capacity).sum();
                assert!(held <= 2 * sent.len() + Arrived::BLOCK_BYTES_MIN, "{held} for {}", sent.len());
            }
            assert_eq!(arrived.bytes, sent.len());
            assert_eq!(arrived.whole(), sent, "{pieces:?}");
        }
    }
}
