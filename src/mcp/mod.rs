//! The MCP server: a tenant's collections as tools for agents, and nothing else.
//!
//! It speaks streamable HTTP (specification 2026-07-28, and those before it that `rmcp` serves) without sessions: each
//! message carries its key, is admitted like any request, and is answered at once. What it may use is decided by the one
//! table of operations; a tool is an operation in an agent's words: it reads its arguments, calls the function of
//! [`Service`](crate::service::Service), and renders the result.
//!
//! - `server`: what is said about the server, which tools there are and who they are for.
//! - `shortcut`: calls as clients make them, read and answered without the detours that other messages take.
//! - `message`: a message taken apart, so that arguments are never made values of.
//! - `tools`: one file each.
//! - `session`: one message; `call`: a tool's arguments, and its right; `answer`: what it answers.
//! - `canonical`: one way to write what can be written in many.
//! - `failure`: what an agent is told when it goes wrong.
//! - `page`: answers that are cut, and where they go on; `ranking`: what a search goes on through.

mod answer;
mod call;
mod canonical;
mod failure;
mod message;
mod page;
mod ranking;
mod server;
mod session;
mod shortcut;
mod tools;

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::message::{Message, Sent};
use self::ranking::Rankings;
use self::server::Server;
pub use self::session::Caller;
use self::session::Session;
use crate::service::Error;

/// Answers MCP messages. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    service: StreamableHttpService<Server, NeverSessionManager>,
    rankings: Rankings,
}

impl Endpoint {
    /// One that stops with `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_cancellation_token(stop)
            // The door has looked at hosts, origins and sizes before.
            .disable_allowed_hosts()
            .with_max_request_body_bytes(usize::MAX);
        Self {
            service: StreamableHttpService::new(|| Ok(Server), NeverSessionManager::default().into(), config),
            rankings: Rankings::default(),
        }
    }

    /// The answer to a message of an admitted caller.
    ///
    /// # Errors
    /// Those of a message that is too large or cannot be worked on now; what a tool refuses is an answer.
    pub async fn answer(&self, mut head: Parts, message: Bytes, caller: Caller) -> Result<Response, Error> {
        let session = Session::new(caller, self.rankings.clone());
        let Message { rest, arguments } =
            session.work(message.len(), move || Message::take_apart(message)).await?;
        let arguments = Sent::new(arguments);
        if let Some(answer) = shortcut::answered(&head.headers, &rest, &arguments, &session).await {
            return answer;
        }
        head.headers.remove(header::CONTENT_LENGTH);
        head.extensions.insert(session);
        head.extensions.insert(arguments);
        let message = Request::from_parts(head, Body::from(rest));
        let answer: Result<_, Infallible> = self.service.clone().oneshot(message).await;
        let Ok(answer) = answer;
        Ok(answer.map(Body::new))
    }
}
