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
use tokio::time::{Instant, timeout_at};

use super::App;
use super::problem::Problem;

/// JSON above this is read and written away from the async threads.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// How long a body waits for room among those being worked on.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

/// How long a body may take in all, and how long it may pause.
const BODY_PATIENCE: Duration = Duration::from_mins(2);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How much may be read at the same time, and how.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The largest body.
    pub body_bytes_max: usize,
    /// The deepest nesting of a payload or filter.
    pub json_depth_max: usize,
    /// Room for bodies, in KiB.
    room: Arc<Semaphore>,
}

impl BodyLimits {
    /// Room for eight of the largest bodies at once, or for as many small ones as that makes.
    pub fn new(body_bytes_max: usize, json_depth_max: usize) -> Self {
        let room = Semaphore::new(8 * kibibytes(body_bytes_max) as usize);
        Self { body_bytes_max, json_depth_max, room: Arc::new(room) }
    }
}

impl BodyLimits {
    async fn room(&self, kibibytes: u32) -> Result<OwnedSemaphorePermit, Problem> {
        let room = Arc::clone(&self.room).acquire_many_owned(kibibytes);
        match tokio::time::timeout(ROOM_PATIENCE, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(Problem::unavailable("busy", "too many large requests are being worked on", 1)),
        }
    }
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// A whole body, and its place among those being worked on.
#[derive(Debug)]
pub(super) struct Received {
    /// The body.
    pub bytes: Bytes,
    room: OwnedSemaphorePermit,
}

impl Received {
    /// Reads the body, at most `body_bytes_max` of it. It takes room as it arrives, so that nobody holds
    /// more than they have sent, and neither a pause nor a trickle lasts for ever.
    pub(super) async fn read(
        limits: &BodyLimits,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Result<Self, Problem> {
        let bytes_max = limits.body_bytes_max;
        let too_large =
            || Problem::too_large("body-too-large", format!("the body has more than {bytes_max} bytes"));
        let stated = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if stated.is_some_and(|stated: usize| stated > bytes_max) {
            return Err(too_large());
        }
        let deadline = Instant::now() + BODY_PATIENCE;
        let mut room = limits.room(0).await?;
        // What is stated is not believed before it comes.
        let mut bytes = BytesMut::with_capacity(stated.unwrap_or(0).min(INLINE_BYTES_MAX));
        loop {
            let pause = deadline.min(Instant::now() + PAUSE_MAX);
            let frame = match timeout_at(pause, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok(Self { bytes: bytes.freeze(), room }),
                Ok(Some(Err(_))) => return Err(Problem::malformed("body-incomplete", "the body broke off")),
                Err(_) => {
                    let detail = "the body did not arrive in time";
                    return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > bytes_max {
                return Err(too_large());
            }
            let more = kibibytes(bytes.len() + data.len()) - kibibytes(bytes.len());
            room.merge(limits.room(more).await?);
            bytes.extend_from_slice(&data);
        }
    }

    /// The body's room, for what was made of it.
    pub(super) fn into_room(self) -> OwnedSemaphorePermit {
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
        tokio::task::spawn_blocking(move || parse(&bytes)).await.unwrap_or_else(|_| Err(Problem::internal()))
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

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        expect_content_type(&parts.headers, &["application/json"])?;
        Received::read(app.body_limits(), &parts.headers, body).await?.json().await.map(Self)
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
