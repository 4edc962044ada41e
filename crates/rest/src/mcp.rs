//! The endpoint of MCP messages: which are accepted, and how many are answered concurrently.

use std::time::Duration;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use utoipa::ToSchema;
use vectorizer_mcp::Caller;
use vectorizer_service::{Error, Readmission};

use super::body::{RequestBody, expect_content_type};
use super::middleware::auth::GrantedMcp;
use super::middleware::host;
use super::problem::Problem;
use super::{App, openapi};

/// The largest message, in bytes. Larger requests need REST.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The most messages of all tenants that are answered concurrently, and how long another message waits for a permit. A
/// message takes a permit only once it has arrived. Until then it holds only memory of its tenant's share.
pub(super) const MESSAGES_MAX: usize = 128;
const MESSAGE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Each byte of a message is charged as this many bytes: it is in memory a second time, in the arguments of the tool's
/// operation.
const CHARGE_FACTOR: usize = 2;

/// An MCP message: a request or a notification of JSON-RPC 2.0.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes JSON that rmcp reads")]
struct Message {
    /// Always `2.0`.
    #[schema(pattern = "^2\\.0$", example = "2.0")]
    jsonrpc: String,
    /// The id of a request; a notification has none.
    #[schema(value_type = Option<openapi::MessageId>, nullable = false)]
    id: Option<u64>,
    /// The method.
    #[schema(example = "tools/list")]
    method: String,
    /// The parameters; null if there are none.
    #[schema(value_type = Option<Object>)]
    params: Option<()>,
}

/// An answer of JSON-RPC 2.0.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes JSON that rmcp writes")]
struct MessageAnswer {
    /// Always `2.0`.
    jsonrpc: String,
    /// The id of the request; null if it could not be read.
    #[schema(value_type = Option<openapi::MessageId>)]
    id: Option<u64>,
    /// The result, if the request succeeded.
    #[schema(value_type = Option<Object>, nullable = false)]
    result: Option<()>,
    /// The error, if the request failed.
    #[schema(value_type = Option<Object>, nullable = false)]
    error: Option<()>,
}

/// Send an MCP message (streamable HTTP, without sessions). Agents get the tools that their key permits.
#[utoipa::path(post, path = "/mcp", operation_id = "mcp",
    request_body = Message, responses(
    (status = 200, description = "The answer to a request.", body = MessageAnswer),
    (status = 202, description = "The notification was accepted. It has no answer."),
    (status = 406, description = "`Accept` does not name both `application/json` and `text/event-stream`."),
    (status = 403, description = "The page's origin or the host is not allowed, or the key permits no tools."),
))]
pub(super) async fn serve(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    check_origin(&app, &parts.headers)?;
    let GrantedMcp(pass) = GrantedMcp::from_request_parts(&mut parts, &app).await?;
    let service = app.service();
    let share = service.share(pass.tenant());
    let bytes_max = MESSAGE_BYTES_MAX.min(service.limits().body_bytes_max);
    let message =
        RequestBody::charged(service, &parts, body, share.clone(), bytes_max, CHARGE_FACTOR).await?;
    let _permits = permits(&share.messages, &app.shared.messages).await?;
    expect_content_type(&parts.headers, &["application/json"])?;
    // Taken after the body was read, which may need it.
    let readmission = Readmission::from_request_parts(&mut parts, &app).await?;
    let held = message.held();
    let caller = Caller { service: service.clone(), pass, readmission, held, share: share.clone() };
    as_problem(app.shared.mcp.answer(parts, message.bytes, caller).await?).await
}

/// The permits to answer a message, of its tenant and of the node.
async fn permits<'a>(
    own: &'a Semaphore,
    of_node: &'a Semaphore,
) -> Result<[SemaphorePermit<'a>; 2], Problem> {
    // Usually both are free, and a timer would be more work than taking them.
    if let Ok(own) = own.try_acquire()
        && let Ok(of_node) = of_node.try_acquire()
    {
        return Ok([own, of_node]);
    }
    let permits = async {
        // IMPORTANT, the order: a message that waits for its own tenant's permit must not hold one of the node's.
        let own = own.acquire().await;
        (own, of_node.acquire().await)
    };
    match timeout(MESSAGE_WAIT_MAX, permits).await {
        Ok((Ok(own), Ok(of_node))) => Ok([own, of_node]),
        _ => Err(Error::unavailable("busy", "too many messages are being answered", 1).into()),
    }
}

/// Turns the transport's plain-text errors into problems. Other answers stay as they are.
async fn as_problem(answer: Response) -> Result<Response, Problem> {
    /// More than the longest such text.
    const TEXT_BYTES_MAX: usize = 4096;
    let status = answer.status();
    let content_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if status.is_success() || content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Ok(answer);
    }
    let (status, code) = match status {
        StatusCode::NOT_ACCEPTABLE => (status, "not-acceptable"),
        // The media type is JSON, but the content is not a message.
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-message"),
        _ => (status, "invalid-message"),
    };
    let text = axum::body::to_bytes(answer.into_body(), TEXT_BYTES_MAX).await.unwrap_or_default();
    Err(Problem::new(status, code, String::from_utf8_lossy(&text)))
}

/// The protection against DNS rebinding that the MCP specification requires: `Origin` must be allowed, and if the
/// server has configured names, `Host` must be one of them.
fn check_origin(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let known = &app.shared.known_hosts;
    for origin in headers.get_all(header::ORIGIN) {
        let is_known = app.shared.page_origins.allow(origin)
            || origin.to_str().is_ok_and(|origin| known.allow_origin(origin));
        if !is_known {
            let detail =
                format!("pages of {origin:?} are not allowed; server.cors_origins lists the allowed origins");
            return Err(Problem::new(StatusCode::FORBIDDEN, "origin-not-allowed", detail));
        }
    }
    if known.has_names() { host::check_name(known, headers) } else { Ok(()) }
}
