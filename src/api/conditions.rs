//! The headers that put conditions on a write: `Idempotency-Key` and `If-Match`.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, Method, header};
use vectorizer_log::{CollectionName, Idempotency, Seq};

use super::App;
use super::body::Received;
use super::problem::Problem;
use crate::tenancy::{Precondition, Write};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A write's body with its conditions.
#[derive(Debug)]
pub(super) struct Submitted {
    /// The body.
    pub body: Received,
    /// The headers.
    pub headers: HeaderMap,
    idempotency: Option<Idempotency>,
    precondition: Option<Precondition>,
}

impl Submitted {
    /// The key under which it is done once.
    pub(super) fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_ref()
    }

    /// A write of `change` to `collection` under the request's conditions.
    pub(super) fn write<C>(self, collection: CollectionName, change: C) -> Write<C> {
        let Self { body, headers: _, idempotency, precondition } = self;
        Write { collection, change, idempotency, precondition, room: body.into_room() }
    }
}

impl FromRequest<App> for Submitted {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let precondition = precondition(&parts.headers)?;
        let body = Received::read(app.body_limits(), &mut parts, body).await?;
        let idempotency = match key(&parts.headers)? {
            None => None,
            Some(key) => {
                let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
                Some(body.parsed(move |body| Ok(idempotency(key, &method, &path, body))).await?)
            }
        };
        Ok(Self { body, headers: parts.headers, idempotency, precondition })
    }
}

/// The key that was given.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !printable || !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) {
        let detail =
            format!("Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters");
        return Err(Problem::malformed("invalid-header", detail));
    }
    Ok(Some(key.to_owned()))
}

/// The key, and the hash of everything that makes the request what it is.
fn idempotency(key: String, method: &Method, path: &str, body: &[u8]) -> Idempotency {
    let mut hasher = blake3::Hasher::new();
    for piece in [method.as_str().as_bytes(), path.as_bytes(), body] {
        hasher.update(&(piece.len() as u64).to_le_bytes()).update(piece);
    }
    Idempotency { key, body_hash: *hasher.finalize().as_bytes() }
}

/// `If-Match` (RFC 9110, section 13.1.1): `*` or a list of entity tags, here the seq in quotes. A weak
/// tag is one, and matches nothing.
fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Problem> {
    let Some(text) = single(headers, &header::IF_MATCH)? else { return Ok(None) };
    if text.trim() == "*" {
        return Ok(Some(Precondition::Exists));
    }
    let mut seqs = Vec::new();
    for tag in text.split(',').map(str::trim) {
        let strong = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        match strong.map(str::parse) {
            Some(Ok(number)) => seqs.push(Seq::new(number)),
            None if tag.starts_with("W/\"") && tag.ends_with('"') => {}
            _ => {
                let detail = format!("If-Match is {text:?}, it must be a seq in double quotes");
                return Err(Problem::malformed("invalid-header", detail));
            }
        }
    }
    Ok(Some(Precondition::LastChangeIn(seqs)))
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Problem::malformed("invalid-header", format!("{name} must be given once, in ASCII"))),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn parsed(value: &str) -> Result<Option<Precondition>, ()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        precondition(&headers).map_err(drop)
    }

    #[test]
    fn if_match_takes_what_the_rfc_gives_it() {
        let seqs = |numbers: &[u64]| {
            Ok(Some(Precondition::LastChangeIn(numbers.iter().map(|number| Seq::new(*number)).collect())))
        };
        assert_eq!(parsed("*"), Ok(Some(Precondition::Exists)));
        assert_eq!(parsed("\"5\""), seqs(&[5]));
        assert_eq!(parsed("\"5\", \"7\""), seqs(&[5, 7]));
        assert_eq!(parsed("W/\"5\""), seqs(&[]));
        for bad in ["5", "\"\"", "\"a\"", "\"5", "", "\"5\" \"7\"", "\"-1\""] {
            assert_eq!(parsed(bad), Err(()), "{bad}");
        }
    }
}
