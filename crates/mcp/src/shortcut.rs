//! The fast path for calls of tools.
//!
//! rmcp parses a message several times, serializes it again to compare it with the headers, and answers it in other
//! tasks. That is more work than a whole search over REST. Nearly every message is a call in the usual form. This
//! module answers those, with exactly the answer that rmcp would give. All other messages go to rmcp, which supports
//! all of the protocol and its errors.
//!
//! Arguments and answers stay serialized: parsing them into values and serializing those again took longer than the
//! search itself. Only the numbers of a query vector are parsed with the message: finding their end takes as long.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use rmcp::model::{CallToolResult, ClientCapabilities, ProtocolVersion, RequestId, ResultType};
use serde::Deserialize;
use vectorizer_service::{Error, INLINE_BYTES_MAX};

use super::answer;
use super::call::{Arguments, ArgumentsWithVector};
use super::message::ENVELOPE_BYTES_MAX;
use super::session::Session;
use super::tools::{self, ToolName};

/// The protocol version whose calls state their version and name in the body and in headers.
const SELF_DESCRIBING: ProtocolVersion = ProtocolVersion::V_2026_07_28;

/// The largest message whose query vector is parsed at once. It is too small for the limits of its parts, which count
/// the bytes of unparsed arguments.
const PARSED_BYTES_MAX: usize =
    if ENVELOPE_BYTES_MAX < INLINE_BYTES_MAX { ENVELOPE_BYTES_MAX } else { INLINE_BYTES_MAX };

/// A call without any other fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "A: Deserialize<'de>"))]
struct Message<'a, A> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    id: RequestId,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Params<'a, A>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "A: Deserialize<'de>"))]
struct Params<'a, A> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    arguments: Option<A>,
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
        let message = str::from_utf8(message).ok()?;
        let call = if message.len() <= PARSED_BYTES_MAX {
            Self::parse_with(message, |ArgumentsWithVector(arguments)| arguments)?
        } else {
            Self::parse_with(message, |arguments: Arguments| arguments)?
        };
        let is_fit = message.len().saturating_sub(call.arguments.bytes()) <= ENVELOPE_BYTES_MAX
            // No other tool has a vector.
            && (call.tool == ToolName::Search || !call.arguments.has_parsed_vector());
        is_fit.then_some(call)
    }

    fn parse_with<'a, A: Default + Deserialize<'a>>(
        message: &'a str,
        arguments_of: impl FnOnce(A) -> Arguments,
    ) -> Option<Self> {
        let Message { jsonrpc, id, method, params } = serde_json::from_str(message).ok()?;
        if jsonrpc != "2.0" || method != "tools/call" {
            return None;
        }
        let Params { name, arguments, meta: Meta { version, capabilities } } = params;
        let tool = ToolName::find(&name)?;
        let arguments = arguments_of(arguments.unwrap_or_default());
        Some(Self { id, tool, arguments, version, has_capabilities: capabilities.is_some() })
    }

    /// Answers the call. `None` if the headers contradict the body.
    pub(super) async fn answer(
        self,
        headers: &UsualHeaders<'_>,
        session: &Session,
    ) -> Option<Result<Response, Error>> {
        let self_describing = self.is_self_describing(headers)?;
        // Clients of earlier versions do not know this field.
        let result_type = self_describing.then_some(ResultType::COMPLETE);
        let written = match tools::call(self.tool, session, self.arguments).await {
            Ok(answer) => success(&self.id, &answer, result_type.as_ref()),
            Err(failure) => {
                let mut result = failure.into_result();
                result.result_type = result_type;
                error(&self.id, &result)
            }
        };
        Some(written.map(response).map_err(|error| {
            tracing::error!(%error, "a tool's answer cannot be serialized");
            Error::internal()
        }))
    }

    /// Whether the call states its version in its body; `None` if the headers contradict the body.
    fn is_self_describing(&self, headers: &UsualHeaders<'_>) -> Option<bool> {
        let stated = headers.version;
        let Some(version) = self.version.as_deref() else {
            return stated.is_none_or(has_handshake).then_some(false);
        };
        let agrees = version == SELF_DESCRIBING.as_str()
            && stated == Some(version)
            && self.has_capabilities
            && headers.method == Some("tools/call")
            && headers.name == Some(self.tool.as_str());
        agrees.then_some(true)
    }
}

/// The message of a successful call.
fn success(id: &RequestId, answer: &[u8], result_type: Option<&ResultType>) -> serde_json::Result<Vec<u8>> {
    // The answer occurs twice, once as an escaped string.
    message(id, 3 * answer.len(), |message| answer::write_result(answer, result_type, message))
}

/// The message of a failed call.
fn error(id: &RequestId, result: &CallToolResult) -> serde_json::Result<Vec<u8>> {
    message(id, 0, |message| serde_json::to_writer(message, result))
}

/// A message with a result of about `bytes` bytes.
fn message(
    id: &RequestId,
    bytes: usize,
    write_result: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
) -> serde_json::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(bytes + 256);
    message.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    serde_json::to_writer(&mut message, id)?;
    message.extend_from_slice(b",\"result\":");
    write_result(&mut message)?;
    message.push(b'}');
    Ok(message)
}

fn response(message: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(message));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The headers that affect the answer of a call, each given once or not at all.
#[derive(Default)]
pub(super) struct UsualHeaders<'a> {
    version: Option<&'a str>,
    method: Option<&'a str>,
    name: Option<&'a str>,
}

impl<'a> UsualHeaders<'a> {
    /// Reads the headers in one pass. `None` unless the message is JSON and the client accepts JSON.
    pub(super) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut usual = Self::default();
        let (mut accept, mut content_type, mut has_host) = (None, None, false);
        for (name, value) in headers {
            let place = match name.as_str() {
                "accept" => &mut accept,
                "content-type" => &mut content_type,
                "mcp-protocol-version" => &mut usual.version,
                "mcp-method" => &mut usual.method,
                "mcp-name" => &mut usual.name,
                "host" => {
                    has_host = true;
                    continue;
                }
                _ => continue,
            };
            if place.replace(value.to_str().ok()?).is_some() {
                return None;
            }
        }
        let is_usual = has_host && content_type == Some("application/json") && accepts_both(accept?);
        is_usual.then_some(usual)
    }
}

/// Whether this value of `Accept` has both kinds of answers.
fn accepts_both(accept: &str) -> bool {
    /// What the official clients send.
    const USUAL: &str = "application/json, text/event-stream";
    let accepts = |kind: &str| accept.split(',').any(|it| it.trim().eq_ignore_ascii_case(kind));
    accept == USUAL || (accepts("application/json") && accepts("text/event-stream"))
}

/// Whether sessions of this version begin with a handshake.
fn has_handshake(version: &str) -> bool {
    ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| known.has_initialize() && known.as_str() == version)
}

#[cfg(test)]
mod tests {
    use vectorizer_wire::values::VectorInput;

    use super::*;

    fn parse(tool: &str, arguments: &str) -> Option<UsualCall> {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":"#;
        UsualCall::parse(format!("{call}{arguments},\"name\":\"{tool}\"}}}}").as_bytes())
    }

    #[test]
    fn the_vector_of_a_small_search_is_parsed_with_the_message() {
        for vector in ["[1, 2.5e-3]", "\"AACAPw==\""] {
            let mut arguments =
                parse("search", &format!("{{\"vector\":{vector},\"limit\":3}}")).unwrap().arguments;
            let expected: VectorInput = serde_json::from_str(vector).unwrap();
            assert_eq!(arguments.take_parsed_vector(), Some(expected));
            assert!(arguments.take_raw("vector").is_none() && arguments.take_raw("limit").is_some());
        }
        let large = format!("{{\"vector\":[{}1]}}", "1,".repeat(PARSED_BYTES_MAX));
        let mut arguments = parse("search", &large).unwrap().arguments;
        assert!(!arguments.has_parsed_vector() && arguments.take_raw("vector").is_some());
    }

    #[test]
    fn a_call_whose_vector_is_not_one_is_left_to_the_other_path() {
        for arguments in [
            "{\"vector\":null}",
            "{\"vector\":[1,null]}",
            "{\"vector\":[1],\"vector\":[1]}",
            "{\"vector\":[1e400]}",
        ] {
            assert!(parse("search", arguments).is_none(), "{arguments}");
        }
        assert!(parse("count", "{\"vector\":[1]}").is_none());
        assert!(parse("count", "{}").is_some());
    }
}
