//! The MCP server: a tenant's collections as tools for agents.
//!
//! It implements streamable HTTP (specification 2026-07-28, and the earlier versions that `rmcp` supports) without
//! protocol sessions: each message has a key, is admitted like any request, and is answered at once. The table of
//! operations decides which tools a key permits. A tool parses its arguments, calls a function of
//! [`Service`](vectorizer_service::Service), and renders the result.
//!
//! - `server`: the description of the server, and the list of tools.
//! - `shortcut`: the fast path for calls in the form that clients usually send.
//! - `message`: splits a message, so that arguments are never parsed into values.
//! - `tools`: one file for each tool.
//! - `session`: the context of a message; `call`: the arguments and the access of a call; `answer`: its answer.
//! - `canonical`: canonical JSON; `escaped`: JSON as the content of a string.
//! - `failure`: errors for agents.
//! - `page`: bounded answers and their cursors; `ranking`: the rankings that searches continue.

mod answer;
mod call;
mod canonical;
mod escaped;
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
use vectorizer_service::Error;

use self::message::{CallArguments, Message};
use self::ranking::Rankings;
use self::server::Server;
pub use self::session::Caller;
use self::session::Session;
use self::shortcut::{UsualCall, UsualHeaders};

/// Answers MCP messages. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    service: StreamableHttpService<Server, NeverSessionManager>,
    rankings: Rankings,
}

impl Endpoint {
    /// Creates an endpoint that stops with `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_cancellation_token(stop)
            // REST's endpoint has checked hosts, origins and sizes before.
            .disable_allowed_hosts()
            .with_max_request_body_bytes(usize::MAX);
        Self {
            service: StreamableHttpService::new(|| Ok(Server), NeverSessionManager::default().into(), config),
            rankings: Rankings::default(),
        }
    }

    /// Answers a message of an admitted caller.
    ///
    /// # Errors
    /// The message is too large, or cannot be processed now. The failure of a tool is an answer, not an error.
    pub async fn answer(&self, mut head: Parts, message: Bytes, caller: Caller) -> Result<Response, Error> {
        let session = Session::new(caller, self.rankings.clone());
        if let Some(headers) = UsualHeaders::of(&head.headers) {
            let message = message.clone();
            let call =
                session.work(message.len(), move || Ok::<_, Error>(UsualCall::parse(&message))).await?;
            if let Some(call) = call
                && let Some(answer) = call.answer(&headers, &session).await
            {
                return answer;
            }
        }
        let Message { envelope, arguments } =
            session.work(message.len(), move || Message::split(message)).await?;
        let arguments = CallArguments::new(arguments);
        head.headers.remove(header::CONTENT_LENGTH);
        head.extensions.insert(session);
        head.extensions.insert(arguments);
        let message = Request::from_parts(head, Body::from(envelope));
        let answer: Result<_, Infallible> = self.service.clone().oneshot(message).await;
        let Ok(answer) = answer;
        Ok(answer.map(Body::new))
    }
}
