//! Reading what a client sends: bounded, whole, and with errors that name the field.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::middleware::auth::{Readmission, share};
use super::problem::Problem;
use super::{App, cores};
use crate::metrics as measured;
use crate::tenancy::{Background, Room, Weight};

/// JSON above this is read and written away from the async threads.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// How long a body waits for room among those being worked on.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Room for bodies, in KiB.
    room: Arc<Semaphore>,
    /// Where large ones are parsed: a search must not wait for a core until that is done.
    parsers: Background,
}

impl BodyLimits {
    /// Room for eight of the largest bodies at once, or for as many small ones as that makes; a quarter of
    /// it for each tenant.
    pub fn new(body_bytes_max: usize, json_depth_max: usize) -> Self {
        let room = Semaphore::new(8 * kibibytes(body_bytes_max) as usize);
        let parsers = Background::new(cores(), Weight::Third);
        Self { body_bytes_max, json_depth_max, room: Arc::new(room), parsers }
    }
}

impl BodyLimits {
    /// The room and how much of it is taken.
    pub(super) fn measured_room(&self) -> measured::Room {
        let bytes = 1024 * self.room_kibibytes();
        measured::Room { name: "bodies", bytes, used_bytes: bytes - 1024 * self.room.available_permits() }
    }

    fn room_kibibytes(&self) -> usize {
        8 * kibibytes(self.body_bytes_max) as usize
    }

    /// Every tenant's share of the room, in KiB.
    pub(super) fn share_kibibytes(&self) -> usize {
        2 * kibibytes(self.body_bytes_max) as usize
    }
}

async fn take(room: &Arc<Semaphore>, kibibytes: u32) -> Result<OwnedSemaphorePermit, Problem> {
    match timeout(ROOM_PATIENCE, Arc::clone(room).acquire_many_owned(kibibytes)).await {
        Ok(Ok(room)) => Ok(room),
        _ => Err(Problem::unavailable("busy", "too many large requests are being worked on", 1)),
    }
}

pub(super) fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// A whole body, and its place among those being worked on.
#[derive(Debug)]
pub(super) struct Received {
    /// The body.
    pub bytes: Bytes,
    room: Room,
    parsers: Background,
}

impl Received {
    /// Reads the body, at most `body_bytes_max` of it; neither a pause nor a trickle lasts for ever.
    ///
    /// Of the node's room it takes as much as has arrived, so that nobody holds more than they have sent.
    /// Of its tenant's share it takes all that is stated before the first byte is read: that makes nobody
    /// wait but the tenant, and its bodies do not wait for each other half read.
    pub(super) async fn read(
        limits: &BodyLimits,
        parts: &mut Parts,
        mut body: Body,
    ) -> Result<Self, Problem> {
        let share = share(parts)?.bodies;
        let bytes_max = limits.body_bytes_max;
        let too_large =
            || Problem::too_large("body-too-large", format!("the body has more than {bytes_max} bytes"));
        let stated = parts.headers.get(header::CONTENT_LENGTH);
        let stated: Option<usize> = stated.and_then(|value| value.to_str().ok()?.parse().ok());
        if stated.is_some_and(|stated| stated > bytes_max) {
            return Err(too_large());
        }
        let mut of_share = take(&share, kibibytes(stated.unwrap_or(0))).await?;
        let mut of_node = take(&limits.room, 0).await?;
        // What is stated is not believed before it comes.
        let mut bytes = BytesMut::with_capacity(stated.unwrap_or(0).min(INLINE_BYTES_MAX));
        let mut waited = Duration::ZERO;
        let started = Instant::now();
        while let Some(data) = next_data(&mut body, bytes.len(), &mut waited).await? {
            if bytes.len() + data.len() > bytes_max {
                return Err(too_large());
            }
            let arrived = kibibytes(bytes.len() + data.len());
            let missing = |held: &OwnedSemaphorePermit| {
                arrived.saturating_sub(u32::try_from(held.num_permits()).unwrap_or(u32::MAX))
            };
            of_share.merge(take(&share, missing(&of_share)).await?);
            of_node.merge(take(&limits.room, missing(&of_node)).await?);
            bytes.extend_from_slice(&data);
        }
        // A key may have been revoked meanwhile.
        if started.elapsed() > ADMITTED_FOR
            && let Some(readmission) = parts.extensions.get::<Readmission>()
        {
            readmission.check().await?;
        }
        Ok(Self { bytes: bytes.freeze(), room: [of_share, of_node].into(), parsers: limits.parsers.clone() })
    }

    /// The body's room, for what was made of it.
    pub(super) fn into_room(self) -> Room {
        self.room
    }

    /// The body as JSON.
    pub(super) async fn json<T: DeserializeOwned + Send + 'static>(&self) -> Result<T, Problem> {
        self.parsed(|bytes| parse_json(bytes)).await
    }

    /// What `parse` makes of the body; off the async threads if it is large.
    pub(super) async fn parsed<T: Send + 'static>(
        &self,
        parse: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if self.bytes.len() <= INLINE_BYTES_MAX {
            return parse(&self.bytes);
        }
        let bytes = self.bytes.clone();
        self.parsers.run(move || parse(&bytes)).await.unwrap_or_else(|| Err(Problem::internal()))
    }
}

/// A body that is no tenant's yet, of at most `bytes_max`, and the room of the node that it takes.
pub(super) async fn read_message(
    limits: &BodyLimits,
    mut body: Body,
    bytes_max: usize,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let mut room = take(&limits.room, 0).await?;
    let mut bytes = BytesMut::new();
    let mut waited = Duration::ZERO;
    while let Some(data) = next_data(&mut body, bytes.len(), &mut waited).await? {
        if bytes.len() + data.len() > bytes_max {
            let detail = format!("the message has more than {bytes_max} bytes");
            return Err(Problem::too_large("body-too-large", detail));
        }
        let arrived = kibibytes(bytes.len() + data.len());
        let held = u32::try_from(room.num_permits()).unwrap_or(u32::MAX);
        room.merge(take(&limits.room, arrived.saturating_sub(held)).await?);
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), room))
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
            Ok(Some(Err(_))) => return Err(Problem::malformed("body-incomplete", "the body broke off")),
            Err(_) => {
                let detail = "the body did not arrive in time";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail));
            }
        }
    }
}

/// `bytes` as JSON. The first attempt is the fast one; what fails is read again to name the field.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if !error.is_data() {
        return Err(Problem::malformed("malformed-json", format!("not JSON: {error}")));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let detail = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(with_path) => with_path.to_string(),
        Ok(_) => error.to_string(),
    };
    Err(Problem::invalid("invalid-body", detail))
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

/// A JSON body, and the room it took: what was made of it takes as much, until the work is done.
pub(super) struct Json<T> {
    pub value: T,
    pub room: Room,
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        expect_content_type(&parts.headers, &["application/json"])?;
        let received = Received::read(app.body_limits(), &mut parts, body).await?;
        Ok(Self { value: received.json().await?, room: received.into_room() })
    }
}

/// The query's parameters; unknown ones are refused.
pub(super) struct Parameters<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => Err(Problem::malformed("invalid-parameter", rejection.body_text())),
        }
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
    fn an_error_in_a_body_names_the_field() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            #[expect(dead_code, reason = "only its type matters")]
            id: String,
        }
        let refused = parse_json::<Vec<Named>>(br#"[{"id":"a"},{"id":5}]"#).unwrap_err();
        assert!(format!("{refused:?}").contains("[1].id: invalid type"), "{refused:?}");
        let refused = parse_json::<Vec<Named>>(br#"[{"id":"a","extra":1}]"#).unwrap_err();
        assert!(format!("{refused:?}").contains("unknown field `extra`"), "{refused:?}");
        let refused = parse_json::<Vec<Named>>(br#"[{"id":NaN}]"#).unwrap_err();
        assert!(format!("{refused:?}").contains("malformed-json"), "{refused:?}");
    }
}
