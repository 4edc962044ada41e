//! The policy feed.

use std::time::Duration;

use axum::extract::{Json, State};
use tokio::time::{Instant, timeout_at};
use vectorizer_hivehub::{POLICY_WAIT_SECONDS_MAX, PoliciesAnswer, PoliciesQuery};

use super::Served;
use super::rejection::HubRejection;
use super::sent::Parameters;

/// Answers as soon as there is an event after the cursor, or when the wait is over. The wait is at most
/// [`POLICY_WAIT_SECONDS_MAX`].
pub(super) async fn policies(
    State(served): State<Served>,
    Parameters(PoliciesQuery { since, wait }): Parameters<PoliciesQuery>,
) -> Result<Json<PoliciesAnswer>, HubRejection> {
    let Some(since) = since else {
        return Ok(Json(PoliciesAnswer { cursor: served.hub.policy_cursor(), events: Vec::new() }));
    };
    let _place = served.waiting.clone().try_acquire_owned().map_err(|_| HubRejection::Busy)?;
    let end = Instant::now() + Duration::from_secs(wait.min(POLICY_WAIT_SECONDS_MAX).into());
    let (mut moved, mut stopping) = served.hub.waits();
    loop {
        // IMPORTANT: marked before the feed is read, so that an event between the two calls ends the wait.
        moved.mark_unchanged();
        let answer = served.hub.policies(since).map_err(|_| HubRejection::CursorLost)?;
        if !answer.events.is_empty() {
            return Ok(Json(answer));
        }
        let happened = async {
            tokio::select! {
                moved = moved.changed() => moved.is_ok(),
                _ = stopping.wait_for(|stopping| *stopping) => false,
            }
        };
        if !timeout_at(end, happened).await.unwrap_or(false) {
            return Ok(Json(answer));
        }
    }
}
