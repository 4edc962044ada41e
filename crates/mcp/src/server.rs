//! The description of the server, and the tools that it lists.

use axum::http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::answer;
use super::failure::Failure;
use super::message::CallArguments;
use super::session::Session;
use super::tools::{self, ToolName};

const INSTRUCTIONS: &str = "\
Vectorizer stores collections of records and searches them by meaning (vectors), by words (texts) and by the fields of \
their payload. Start with list_collections. To store and search texts: create_collection with text: true (if your key \
permits it), upsert records with an id and a text, then search with text. You have access only to your own tenant's \
data. If an answer has next_cursor, there is more: call the tool again with the same arguments and that cursor. \
Arguments have the same names in all tools. An error says what is wrong and what to do.";

/// The server. It has no state: each message has its own [`Session`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Server;

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let mut config = ServerConfig::new(capabilities).with_instructions(INSTRUCTIONS);
        config.server_info = Implementation::new("vectorizer", env!("CARGO_PKG_VERSION"));
        config
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        ToolName::find(name).map(tools::describe)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let session = session(&context)?;
        let shown = ToolName::ALL.into_iter().filter(|tool| session.may(tool.operation()));
        Ok(ListToolsResult { tools: shown.map(tools::describe).collect(), ..ListToolsResult::default() })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let session = session(&context)?;
        let Some(tool) = ToolName::find(&request.name) else {
            let detail = format!("there is no tool {:?}; tools/list lists the tools", request.name);
            return Err(ErrorData::invalid_params(detail, None));
        };
        let done = match attached::<CallArguments>(&context)?.arguments() {
            Ok(arguments) => tools::call(tool, session, arguments).await,
            Err(failure) => Err(failure),
        };
        let result = done.and_then(answer::result);
        Ok(result.unwrap_or_else(Failure::into_result).into())
    }
}

/// The session of the message, which alone grants access.
fn session(context: &RequestContext<RoleServer>) -> Result<&Session, ErrorData> {
    attached(context)
}

/// A value that the endpoint has attached to the message.
fn attached<T: Send + Sync + 'static>(context: &RequestContext<RoleServer>) -> Result<&T, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    parts.and_then(|parts| parts.extensions.get::<T>()).ok_or_else(|| {
        tracing::error!("a message did not pass the endpoint");
        ErrorData::internal_error("the server failed to process this message", None)
    })
}
