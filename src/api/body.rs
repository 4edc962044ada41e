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
use super::middleware::auth::{Readmission, share};
use super::parsing::{INLINE_BYTES_MAX, MEDIUM_BYTES_MAX, Parsers};
use super::problem::Problem;
use super::room::{BodyRoom, Taken, kibibytes};
use crate::json::{self, Unreadable, Wrong};
use crate::metrics as measured;
use crate::scheduling::StreamTurn;
use crate::tenancy::{Room, Share};

/// How long a body may keep us waiting, beside a second for every so many bytes of it that have come.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
const BODY_BYTES_EACH_SECOND: usize = 16 * 1024;
/// How long it may pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a body may take before it is asked again whether its sender may.
const ADMITTED_FOR: Duration = Duration::from_secs(1);

/// How much may be read at the same time, and how.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The largest body.
    pub body_bytes_max: usize,
    /// The deepest nesting of a payload or filter.
    pub json_depth_max: usize,
    room: Arc<BodyRoom>,
    parsers: Parsers,
}

impl BodyLimits {
    /// Room for eight of the largest bodies at once, or for as many small ones as that makes; a quarter of
    /// it for each tenant.
    pub fn new(body_bytes_max: usize, json_depth_max: usize) -> Self {
        let room = BodyRoom::new(8 * kibibytes(body_bytes_max) as usize);
        Self { body_bytes_max, json_depth_max, room, parsers: Parsers::new() }
    }

    /// The room and how much of it is taken.
    pub(super) fn measured_room(&self) -> measured::Room {
        let bytes = 1024 * self.room.kibibytes();
        measured::Room { name: "bodies", bytes, used_bytes: bytes - 1024 * self.room.free_kibibytes() }
    }

    /// Every tenant's share of the room, in KiB.
    pub(super) fn share_kibibytes(&self) -> u32 {
        kibibytes(self.body_bytes_max).saturating_mul(2)
    }

    /// Where work on bodies is done.
    pub(super) fn parsers(&self) -> &Parsers {
        &self.parsers
    }
}

/// What was charged already for a body that comes from another one, as an extension of the request.
#[derive(Clone, Debug)]
pub(super) struct Charged(pub(super) Arc<Taken>);

/// A whole body, and its place among those being worked on.
#[derive(Debug)]
pub(super) struct Received {
    /// The body.
    pub bytes: Bytes,
    taken: Arc<Taken>,
    share: Share,
    parsers: Parsers,
}

impl Received {
    /// Reads the body, at most `body_bytes_max` of it; neither a pause nor a trickle lasts for ever.
    ///
    /// Of the node's room it takes as much as has arrived, so that nobody holds more than they have sent.
    /// Of its tenant's share it takes all that is stated before the first byte is read: that makes nobody
    /// wait but the tenant, and its bodies do not wait for each other half read.
    pub(super) async fn read(limits: &BodyLimits, parts: &mut Parts, body: Body) -> Result<Self, Problem> {
        let share = share(parts)?;
        match parts.extensions.remove::<Charged>() {
            None => Self::charged(limits, parts, body, share, limits.body_bytes_max, 1).await,
            Some(Charged(taken)) => {
                let bytes = body.collect().await.map_err(|_| incomplete())?.to_bytes();
                Ok(Self { bytes, taken, share, parsers: limits.parsers.clone() })
            }
        }
    }

    /// Reads a body of at most `bytes_max`, packed and unpacked, for the tenant that has this share; each byte is
    /// charged for so many.
    pub(super) async fn charged(
        limits: &BodyLimits,
        parts: &Parts,
        mut body: Body,
        share: Share,
        bytes_max: usize,
        charged_for: usize,
    ) -> Result<Self, Problem> {
        let too_large =
            || Problem::too_large("body-too-large", format!("the body has more than {bytes_max} bytes"));
        let encoding = Encoding::of(&parts.headers)?;
        let stated = parts.headers.get(header::CONTENT_LENGTH);
        let stated: Option<usize> = stated.and_then(|value| value.to_str().ok()?.parse().ok());
        if stated.is_some_and(|stated| stated > bytes_max) {
            return Err(too_large());
        }
        let stated = stated.unwrap_or(0);
        let mut taken = limits.room.begin(&share, kibibytes(charged_for * stated)).await?;
        let mut arrived = Arrived::default();
        let (mut waited, mut turn) = (Duration::ZERO, StreamTurn::default());
        let started = Instant::now();
        while let Some(data) = next_data(&mut body, arrived.bytes, &mut waited).await? {
            if arrived.bytes + data.len() > bytes_max {
                return Err(too_large());
            }
            taken.hold(kibibytes(charged_for * (arrived.bytes + data.len()))).await?;
            arrived.add(&data);
            turn.took(data.len()).await;
        }
        let mut bytes = limits.parsers.run(&share, arrived.bytes, move || Ok(arrived.whole())).await?;
        if let Some(encoding) = encoding {
            let packed = charged_for * bytes.len() + encoding.window_bytes(&bytes);
            let expected = encoding.expected_bytes(&bytes).min(bytes_max);
            // All at once: bodies of a tenant that each hold a part do not wait for each other.
            let charged = |bytes| kibibytes(packed + charged_for * bytes).min(limits.share_kibibytes());
            taken.share_anew(charged(expected)).await?;
            let mut unpacking = Unpacking::new(encoding, bytes)?;
            // A small body is unpacked on the spot, a larger one in turns with other medium ones.
            let mut piece = INLINE_BYTES_MAX;
            loop {
                taken.hold(charged(unpacking.bytes.len() + piece)).await?;
                let is_end;
                let step = move || unpacking.step(piece).map(|is_end| (unpacking, is_end));
                (unpacking, is_end) = limits.parsers.run(&share, piece, step).await?;
                if unpacking.bytes.len() > bytes_max {
                    return Err(too_large());
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
        Ok(Self { bytes, taken: Arc::new(taken), share, parsers: limits.parsers.clone() })
    }

    /// Whether work on it is more than can be done on the spot.
    pub(super) fn is_large(&self) -> bool {
        self.bytes.len() > INLINE_BYTES_MAX
    }

    /// What was charged for it, for what is made of it.
    pub(super) fn taken(&self) -> Arc<Taken> {
        Arc::clone(&self.taken)
    }

    /// The body's room, for what was made of it.
    pub(super) fn into_room(self) -> Room {
        Room::of(self.taken)
    }

    /// What `check` makes of the body's JSON.
    pub(super) async fn checked<T: DeserializeOwned, U: Send + 'static>(
        &self,
        check: impl FnOnce(T) -> Result<U, Problem> + Send + 'static,
    ) -> Result<U, Problem> {
        self.parsed(|bytes| check(parse_body(bytes)?)).await
    }

    /// What `parse` makes of the body; in turns and off the async threads if it is large.
    pub(super) async fn parsed<T: Send + 'static>(
        &self,
        parse: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (bytes, taken) = (self.bytes.clone(), Arc::clone(&self.taken));
        let work = move || {
            let parsed = parse(&bytes);
            drop((bytes, taken));
            parsed
        };
        self.parsers.run(&self.share, self.bytes.len(), work).await
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

/// A whole body as JSON.
pub(super) fn parse_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    json::read(bytes).map_err(|unreadable| match unreadable {
        Unreadable::Wrong(wrong) if wrong.is_whole() => Problem::from(wrong).at("body"),
        unreadable @ (Unreadable::NotJson(_) | Unreadable::Wrong(_)) => unreadable.into(),
    })
}

impl From<Unreadable> for Problem {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::NotJson(why) => Self::malformed("malformed-json", format!("not JSON: {why}")),
            Unreadable::Wrong(wrong) => Self::from(wrong),
        }
    }
}

impl From<Wrong> for Problem {
    fn from(wrong: Wrong) -> Self {
        let detail = wrong.to_string();
        match wrong.code() {
            Some("invalid-batch") => Self::invalid("invalid-batch", detail),
            Some("write-too-large") => Self::too_large("write-too-large", detail),
            Some(_) | None => Self::invalid("invalid-body", detail),
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
        Ok(Self(Received::read(app.body_limits(), &mut parts, body).await?))
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
    use serde::Deserialize;

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

    #[test]
    fn an_error_in_a_body_names_the_field() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            #[expect(dead_code, reason = "only its type matters")]
            id: String,
        }
        let refused = parse_body::<Vec<Named>>(br#"[{"id":"a"},{"id":5}]"#).unwrap_err();
        assert_eq!(refused.detail(), "[1].id: expected a string, found 5");
        let refused = parse_body::<Vec<Named>>(br#"[{"id":"a","extra":1}]"#).unwrap_err();
        assert_eq!(refused.detail(), "[0]: unknown field \"extra\", expected id");
        let refused = parse_body::<Vec<Named>>(br#"[{"id":NaN}]"#).unwrap_err();
        assert!(format!("{refused:?}").contains("malformed-json"), "{refused:?}");
    }
}
