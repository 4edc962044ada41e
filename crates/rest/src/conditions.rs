//! The headers that put conditions on a write: `Idempotency-Key` and `If-Match`.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, header};
use vectorizer_engine::tenancy::Precondition;
use vectorizer_log::Seq;
use vectorizer_service::{Conditions, Error, IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey};

use super::App;
use super::body::RequestBody;
use super::middleware::auth::share;
use super::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The body, headers and conditions of a write.
#[derive(Debug)]
pub(super) struct WriteRequest {
    /// The body.
    pub body: RequestBody,
    /// The headers.
    pub headers: HeaderMap,
    /// The conditions.
    pub conditions: Conditions,
}

impl FromRequest<App> for WriteRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let precondition = precondition(&parts.headers)?;
        let (share, service) = (share(&mut parts)?, app.service());
        let body = RequestBody::read(service, &parts, body, share.clone()).await?;
        let idempotency = match key(&parts.headers)? {
            None => None,
            Some(key) => {
                let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
                let bytes = body.bytes.clone();
                let hash = move || {
                    Ok::<_, Error>(key.of_request([method.as_str().as_bytes(), path.as_bytes(), &bytes]))
                };
                Some(service.work(&share, body.bytes.len(), body.held(), hash).await?)
            }
        };
        Ok(Self { body, headers: parts.headers, conditions: Conditions { idempotency, precondition } })
    }
}

/// The idempotency key of the request.
fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let key = IdempotencyKey::new(key).ok_or_else(|| {
        let detail =
            format!("Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters");
        Problem::malformed("invalid-header", detail)
    })?;
    Ok(Some(key))
}

/// `If-Match` (RFC 9110, section 13.1.1): `*` or a list of entity tags, here a seq in quotes. A weak tag is valid and
/// matches nothing.
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
    fn if_match_accepts_the_forms_of_the_rfc() {
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
