//! CORS (the Fetch standard): which pages may use the API from a browser.
//!
//! A page has the access of the key that it sends. There are no cookies, so credentials are not allowed.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may cache the answer to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// The origin of web pages (RFC 6454).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageOrigin {
    /// Every origin.
    Any,
    /// An origin as browsers send it: a scheme, a host, and a port unless it is the scheme's default.
    Named(Box<str>),
}

impl PageOrigin {
    /// The named origin, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Named(origin) => Some(origin),
        }
    }
}

/// The origins whose pages may use this server.
#[derive(Clone, Debug)]
pub struct PageOrigins {
    named: Vec<HeaderValue>,
    any: bool,
}

impl PageOrigins {
    /// Creates the list. One of its entries may allow any origin.
    pub fn new(origins: &[PageOrigin]) -> Self {
        let named = origins.iter().filter_map(|origin| HeaderValue::from_str(origin.as_str()?).ok());
        Self { named: named.collect(), any: origins.contains(&PageOrigin::Any) }
    }

    /// Whether pages of this origin are allowed.
    pub(crate) fn allow(&self, origin: &HeaderValue) -> bool {
        self.any || self.named.contains(origin)
    }

    /// The middleware that answers preflight requests and adds CORS headers; `None` if no origin is allowed.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        let origins = match self {
            Self { any: true, .. } => AllowOrigin::any(),
            Self { named, .. } if named.is_empty() => return None,
            Self { named, .. } => AllowOrigin::list(named.iter().cloned()),
        };
        let layer = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::IF_MATCH,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("x-request-id"),
                HeaderName::from_static("mcp-protocol-version"),
            ])
            .expose_headers([
                header::ETAG,
                header::LOCATION,
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
                HeaderName::from_static("idempotency-replayed"),
                HeaderName::from_static("ratelimit"),
                HeaderName::from_static("ratelimit-policy"),
                HeaderName::from_static("x-request-id"),
            ])
            .max_age(PREFLIGHT_MAX_AGE);
        Some(layer)
    }
}
