//! What browsers let pages of other origins do here (the CORS protocol of the Fetch standard).
//!
//! A page gets as far as the key that it sends: there are no cookies, so credentials are not allowed.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::PageOrigin;

/// How long a browser may remember what is allowed.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The origins whose pages may speak to this server.
#[derive(Clone, Debug)]
pub struct PageOrigins {
    named: Vec<HeaderValue>,
    any: bool,
}

impl PageOrigins {
    /// These, of which one may be all.
    pub fn new(origins: &[PageOrigin]) -> Self {
        let named = origins.iter().filter_map(|origin| HeaderValue::from_str(origin.as_str()?).ok());
        Self { named: named.collect(), any: origins.contains(&PageOrigin::Any) }
    }

    /// Whether a page of this origin is among them.
    pub(in crate::rest) fn allow(&self, origin: &HeaderValue) -> bool {
        self.any || self.named.contains(origin)
    }

    /// Answers browsers that ask, and tells them with every answer; nothing if there is no such page.
    pub(in crate::rest) fn layer(&self) -> Option<CorsLayer> {
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
            .max_age(REMEMBERED);
        Some(layer)
    }
}
