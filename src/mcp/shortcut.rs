//! The short way of a tool's call.
//!
//! rmcp reads a message through several forms, writes it down once more to hold its headers against it, and answers it in
//! tasks of its own: more work than all that REST does for a search. Nearly every message is a call as clients make them,
//! and those are read and answered here, to the letter as rmcp would. What differs in the least goes to rmcp, which knows
//! what else there is, and what to say against it.
//!
//! Arguments and answer pass through as they are written: to make values of them, only to write those down again, took
//! longer than the search itself.

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use rmcp::model::{ClientCapabilities, ProtocolVersion, RequestId, ResultType};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::answer::Success;
use super::message::Sent;
use super::session::Session;
use super::tools::{self, ToolName};
use crate::service::Error;

/// The version whose messages carry what they are about in themselves and in headers.
const CARRYING: ProtocolVersion = ProtocolVersion::V_2026_07_28;

/// A call, and nothing beside it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    jsonrpc: String,
    id: RequestId,
    method: String,
    params: Params,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    name: String,
    /// Taken out before.
    #[expect(dead_code, reason = "it may be there and is not looked at")]
    arguments: Option<IgnoredAny>,
    #[serde(rename = "_meta", default)]
    meta: Meta,
}

/// What it says of itself that makes a difference.
#[derive(Default, Deserialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<String>,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<ClientCapabilities>,
}

#[derive(Serialize)]
struct Answer<R> {
    jsonrpc: &'static str,
    id: RequestId,
    result: R,
}

/// The answer to a call as clients make them.
pub(super) async fn answered(
    headers: &HeaderMap,
    message: &[u8],
    arguments: &Sent,
    session: &Session,
) -> Option<Result<Response, Error>> {
    if !is_usual(headers) {
        return None;
    }
    let Message { jsonrpc, id, method, params } = serde_json::from_slice(message).ok()?;
    if jsonrpc != "2.0" || method != "tools/call" {
        return None;
    }
    let tool = ToolName::find(&params.name)?;
    let carries = carries(headers, &params)?;
    // Clients of before do not know that there could be others.
    let result_type = carries.then_some(ResultType::COMPLETE);
    let done = match arguments.arguments() {
        Ok(arguments) => tools::call(tool, session, arguments).await,
        Err(failure) => Err(failure),
    };
    match done {
        // As text it is a little longer.
        Ok(answer) => Some(written(id, Success::of(&answer, result_type), 3 * answer.get().len())),
        Err(failure) => {
            let mut result = failure.into_result();
            result.result_type = result_type;
            Some(written(id, result, 0))
        }
    }
}

/// The result, which has about `bytes` bytes, in a message.
fn written<R: Serialize>(id: RequestId, result: R, bytes: usize) -> Result<Response, Error> {
    let mut message = Vec::with_capacity(bytes + 256);
    match serde_json::to_writer(&mut message, &Answer { jsonrpc: "2.0", id, result }) {
        Ok(()) => Ok(([(header::CONTENT_TYPE, "application/json")], message).into_response()),
        Err(error) => {
            tracing::error!(%error, "a tool's answer could not be written as JSON");
            Err(Error::internal())
        }
    }
}

/// Whether it is JSON, and may be answered by JSON.
fn is_usual(headers: &HeaderMap) -> bool {
    let accepted = single(headers, header::ACCEPT.as_str()).ok().flatten();
    let accepts = |kind: &str| {
        accepted.is_some_and(|accepted| accepted.split(',').any(|it| it.trim().eq_ignore_ascii_case(kind)))
    };
    headers.contains_key(header::HOST)
        && matches!(single(headers, header::CONTENT_TYPE.as_str()), Ok(Some("application/json")))
        && accepts("application/json")
        && accepts("text/event-stream")
}

/// Whether the call carries its version in itself; nothing if headers and message do not agree.
fn carries(headers: &HeaderMap, params: &Params) -> Option<bool> {
    let told = single(headers, "mcp-protocol-version").ok()?;
    let Some(version) = params.meta.version.as_deref() else {
        return told.is_none_or(is_before).then_some(false);
    };
    let agrees = version == CARRYING.as_str()
        && told == Some(version)
        && params.meta.capabilities.is_some()
        && single(headers, "mcp-method").ok()? == Some("tools/call")
        && single(headers, "mcp-name").ok()? == Some(params.name.as_str());
    agrees.then_some(true)
}

/// Whether a session of this version would begin with a handshake.
fn is_before(version: &str) -> bool {
    ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| known.has_initialize() && known.as_str() == version)
}

/// There are several headers of a name, or one that is no text.
struct Unusual;

/// A header's one value, or that there is none.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Unusual> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Unusual),
        (Some(_), Some(_)) => Err(Unusual),
    }
}
