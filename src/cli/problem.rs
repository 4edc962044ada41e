//! A server's problem document (RFC 9457), as text for a terminal.

use std::fmt;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

/// The largest problem document.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// An error answer of a server.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    described: Described,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Described {
    title: Option<String>,
    detail: Option<String>,
    request_id: Option<String>,
}

impl Problem {
    /// Reads an error answer. If it is not a problem document, only its status is used.
    pub(super) async fn read(mut response: Response) -> Self {
        let status = response.status();
        let is_problem = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/problem+json"));
        let mut body = Vec::new();
        while is_problem && let Ok(Some(chunk)) = response.chunk().await {
            if body.len() + chunk.len() > PROBLEM_BYTES_MAX {
                body.clear();
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Self { status, described: serde_json::from_slice(&body).unwrap_or_default() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Described { title, detail, request_id } = &self.described;
        write!(f, "the server answered {}", self.status)?;
        for text in [title, detail].into_iter().flatten() {
            write!(f, ": {}", printable(text))?;
        }
        if let Some(request_id) = request_id {
            write!(f, " (request {})", printable(request_id))?;
        }
        Ok(())
    }
}

/// Replaces control characters, which could change the terminal's state, with spaces.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
