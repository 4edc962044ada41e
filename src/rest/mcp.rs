//! Where MCP messages come in: which of them, and how many at the same time.

use std::time::Duration;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::body::{Received, expect_content_type};
use super::middleware::auth::GrantedMcp;
use super::middleware::host;
use super::problem::Problem;
use super::{App, openapi};
use crate::mcp::Caller;
use crate::service::{Error, Readmission};

/// The largest message, in bytes. What is more is for REST.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// How many messages are answered at the same time, of all tenants, and how long another waits for that. One that has not
/// arrived yet is not among them: it holds memory of its tenant's share, and nothing else.
pub(super) const MESSAGES_MAX: usize = 128;
const MESSAGE_PATIENCE: Duration = Duration::from_secs(5);

/// How many bytes each byte of a message is charged for: it is there once more as the arguments of the operation that
/// the tool asks for.
const CHARGED_FOR: usize = 2;

/// A request or a notification of JSON-RPC 2.0, as MCP has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes JSON that rmcp reads")]
struct Message {
    /// Always `2.0`.
    #[schema(pattern = "^2\\.0$", example = "2.0")]
    jsonrpc: String,
    /// Which request it is; a notification has none.
    #[schema(value_type = Option<openapi::MessageId>, nullable = false)]
    id: Option<u64>,
    /// What is asked for.
    #[schema(example = "tools/list")]
    method: String,
    /// With what; null is nothing.
    #[schema(value_type = Option<Object>)]
    params: Option<()>,
}

/// An answer of JSON-RPC 2.0.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes JSON that rmcp writes")]
struct MessageAnswer {
    /// Always `2.0`.
    jsonrpc: String,
    /// Which request it answers; null if that could not be read.
    #[schema(value_type = Option<openapi::MessageId>)]
    id: Option<u64>,
    /// What was asked for.
    #[schema(value_type = Option<Object>, nullable = false)]
    result: Option<()>,
    /// Why it was not done.
    #[schema(value_type = Option<Object>, nullable = false)]
    error: Option<()>,
}

/// Speak MCP (streamable HTTP, without sessions): tools for agents, as far as the key reaches.
#[utoipa::path(post, path = "/mcp", operation_id = "mcp",
    request_body = Message, responses(
    (status = 200, description = "The answer to a request.", body = MessageAnswer),
    (status = 202, description = "A notification was taken; there is no answer."),
    (status = 406, description = "`Accept` does not name both `application/json` and `text/event-stream`."),
    (status = 403, description = "The page or the host is not known here, or the key has no tools."),
))]
pub(super) async fn serve(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    check_origin(&app, &parts.headers)?;
    let GrantedMcp(pass) = GrantedMcp::from_request_parts(&mut parts, &app).await?;
    let readmission = Readmission::from_request_parts(&mut parts, &app).await?;
    parts.extensions.insert(readmission.clone());
    let service = app.service();
    let share = service.share(pass.tenant());
    let bytes_max = MESSAGE_BYTES_MAX.min(service.limits().body_bytes_max);
    let message = Received::charged(service, &parts, body, share.clone(), bytes_max, CHARGED_FOR).await?;
    let permits = async {
        // IMPORTANT, the order: a message that waits for its own tenant's permit must not hold one of the node's.
        let own = share.messages.acquire().await;
        (own, app.shared.messages.acquire().await)
    };
    let Ok((Ok(_own), Ok(_of_node))) = timeout(MESSAGE_PATIENCE, permits).await else {
        return Err(Error::unavailable("busy", "too many messages are being answered", 1).into());
    };
    expect_content_type(&parts.headers, &["application/json"])?;
    let held = message.held();
    let caller = Caller { service: service.clone(), pass, readmission, held, share: share.clone() };
    as_problem(app.shared.mcp.answer(parts, message.bytes, caller).await?).await
}

/// An answer as it is, unless the transport refuses the message in plain text: that becomes a problem.
async fn as_problem(answer: Response) -> Result<Response, Problem> {
    /// More than any such text has.
    const TEXT_BYTES_MAX: usize = 4096;
    let status = answer.status();
    let content_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if status.is_success() || content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Ok(answer);
    }
    let (status, code) = match status {
        StatusCode::NOT_ACCEPTABLE => (status, "not-acceptable"),
        // It is JSON by its type, and no message by what it says.
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-message"),
        _ => (status, "invalid-message"),
    };
    let text = axum::body::to_bytes(answer.into_body(), TEXT_BYTES_MAX).await.unwrap_or_default();
    Err(Problem::new(status, code, String::from_utf8_lossy(&text)))
}

/// What the MCP specification asks for against pages that make a browser speak to a server it should not (DNS
/// rebinding): no page but one of a known host, and where the server is told its names, no other name.
fn check_origin(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let known = &app.shared.known_hosts;
    for origin in headers.get_all(header::ORIGIN) {
        let is_known = app.shared.page_origins.allow(origin)
            || origin.to_str().is_ok_and(|origin| known.allow_origin(origin));
        if !is_known {
            let detail = format!(
                "pages of {origin:?} may not speak to this server; server.cors_origins names the origins of those that may"
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, "origin-not-allowed", detail));
        }
    }
    if known.has_names() { host::check_name(known, headers) } else { Ok(()) }
}
