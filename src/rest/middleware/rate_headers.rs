//! How a tenant's limits on requests stand, in the fields of the IETF's draft
//! (draft-ietf-httpapi-ratelimit-headers-10).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits::RateReport;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Puts both fields on an answer.
pub(super) fn tell(headers: &mut HeaderMap, RateReport { minute, hour }: &RateReport) {
    let policy = format!("\"minute\";q={};w=60, \"hour\";q={};w=3600", minute.limit, hour.limit);
    let state = format!(
        "\"minute\";r={};t={}, \"hour\";r={};t={}",
        minute.remaining, minute.reset_seconds, hour.remaining, hour.reset_seconds
    );
    for (name, text) in [(POLICY, policy), (STATE, state)] {
        // Letters, digits and punctuation are always a header's value.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}
