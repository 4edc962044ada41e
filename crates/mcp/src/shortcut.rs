//! The fast path for calls of tools.
//!
//! rmcp parses a message several times, serializes it again to compare it with the headers, and answers it in other
//! tasks. That is more work than a whole search over REST. Nearly every message is a call in the usual form. This
//! module answers those, with exactly the answer that rmcp would give. All other messages go to rmcp, which supports
//! all of the protocol and its errors.
//!
//! Arguments and answers stay serialized: parsing them into values and serializing those again took longer than the
//! search itself.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use rmcp::model::{ClientCapabilities, ProtocolVersion, RequestId, ResultType};
use serde::{Deserialize, Serialize};
use vectorizer_service::Error;

use super::answer::Success;
use super::call::Arguments;
use super::message::ENVELOPE_BYTES_MAX;
use super::session::Session;
use super::tools::{self, ToolName};

/// The protocol version whose calls state their version and name in the body and in headers.
const SELF_DESCRIBING: ProtocolVersion = ProtocolVersion::V_2026_07_28;

/// A call without any other fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    id: RequestId,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    arguments: Option<Arguments>,
    #[serde(rename = "_meta", default)]
    meta: Meta,
}

/// The metadata that affects the answer.
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

/// A call in the usual form.
pub(super) struct UsualCall {
    id: RequestId,
    tool: ToolName,
    arguments: Arguments,
    /// The version that the call states in its body.
    version: Option<String>,
    has_capabilities: bool,
}

impl UsualCall {
    /// Parses a call in the usual form, in one pass. `None` for any other message, also for one with invalid arguments.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let Message { jsonrpc, id, method, params } = serde_json::from_slice(message).ok()?;
        if jsonrpc != "2.0" || method != "tools/call" {
            return None;
        }
        let Params { name, arguments, meta: Meta { version, capabilities } } = params;
        let arguments = arguments.unwrap_or_default();
        if message.len().saturating_sub(arguments.bytes()) > ENVELOPE_BYTES_MAX {
            return None;
        }
        let tool = ToolName::find(&name)?;
        Some(Self { id, tool, arguments, version, has_capabilities: capabilities.is_some() })
    }

    /// Answers the call. `None` if the headers contradict the body.
    pub(super) async fn answer(
        self,
        headers: &HeaderMap,
        session: &Session,
    ) -> Option<Result<Response, Error>> {
        let self_describing = self.is_self_describing(headers)?;
        // Clients of earlier versions do not know this field.
        let result_type = self_describing.then_some(ResultType::COMPLETE);
        match tools::call(self.tool, session, self.arguments).await {
            // The answer occurs twice, once as an escaped string.
            Ok(answer) => Some(response(self.id, Success::of(&answer, result_type), 3 * answer.get().len())),
            Err(failure) => {
                let mut result = failure.into_result();
                result.result_type = result_type;
                Some(response(self.id, result, 0))
            }
        }
    }

    /// Whether the call states its version in its body; `None` if the headers contradict the body.
    fn is_self_describing(&self, headers: &HeaderMap) -> Option<bool> {
        let stated = single(headers, "mcp-protocol-version").ok()?;
        let Some(version) = self.version.as_deref() else {
            return stated.is_none_or(has_handshake).then_some(false);
        };
        let agrees = version == SELF_DESCRIBING.as_str()
            && stated == Some(version)
            && self.has_capabilities
            && single(headers, "mcp-method").ok()? == Some("tools/call")
            && single(headers, "mcp-name").ok()? == Some(self.tool.as_str());
        agrees.then_some(true)
    }
}

/// A message with the result, of about `bytes` bytes.
fn response<R: Serialize>(id: RequestId, result: R, bytes: usize) -> Result<Response, Error> {
    let mut message = Vec::with_capacity(bytes + 256);
    match serde_json::to_writer(&mut message, &Answer { jsonrpc: "2.0", id, result }) {
        Ok(()) => Ok(([(header::CONTENT_TYPE, "application/json")], message).into_response()),
        Err(error) => {
            tracing::error!(%error, "a tool's answer cannot be serialized");
            Err(Error::internal())
        }
    }
}

/// Whether the message is JSON and the client accepts JSON.
pub(super) fn has_usual_headers(headers: &HeaderMap) -> bool {
    let accepted = single(headers, header::ACCEPT.as_str()).ok().flatten();
    let accepts = |kind: &str| {
        accepted.is_some_and(|accepted| accepted.split(',').any(|it| it.trim().eq_ignore_ascii_case(kind)))
    };
    headers.contains_key(header::HOST)
        && matches!(single(headers, header::CONTENT_TYPE.as_str()), Ok(Some("application/json")))
        && accepts("application/json")
        && accepts("text/event-stream")
}

/// Whether sessions of this version begin with a handshake.
fn has_handshake(version: &str) -> bool {
    ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| known.has_initialize() && known.as_str() == version)
}

/// A header is repeated, or is not text.
struct Unusual;

/// The only value of a header; `None` if it is absent.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Unusual> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Unusual),
        (Some(_), Some(_)) => Err(Unusual),
    }
}
