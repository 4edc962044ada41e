//! The state of a tenant's rate limits, in the header fields of draft-ietf-httpapi-ratelimit-headers-10.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use vectorizer_limits::RateReport;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Adds both fields to an answer.
pub(super) fn insert(headers: &mut HeaderMap, RateReport { minute, hour }: &RateReport) {
    let policy = format!("\"minute\";q={};w=60, \"hour\";q={};w=3600", minute.limit, hour.limit);
    let state = format!(
        "\"minute\";r={};t={}, \"hour\";r={};t={}",
        minute.remaining, minute.reset_seconds, hour.remaining, hour.reset_seconds
    );
    for (name, text) in [(POLICY, policy), (STATE, state)] {
        // Letters, digits and punctuation are always a valid header value.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}
