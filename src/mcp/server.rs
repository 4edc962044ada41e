//! What the server says about itself, and which tools it shows to whom.

use axum::http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::answer;
use super::failure::Failure;
use super::message::Sent;
use super::session::Session;
use super::tools::{self, ToolName};

const INSTRUCTIONS: &str = "\
Vectorizer keeps collections of records that are found by meaning (vectors), by words (texts) and by the fields of \
their payload. Begin with list_collections. To keep and find texts: create_collection with text: true (if you may), \
upsert records with an id and a text, then search with text. All you see is your own tenant's; nothing here reaches \
another's. Answers that are cut have next_cursor: call the tool again with the same arguments and that cursor. Arguments have the same names in all tools. An \
error says what was wrong and what to do.";

/// The server. It has no state: what a message may do is in the message's own [`Session`].
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
            let detail = format!("there is no tool {:?}; tools/list shows those there are", request.name);
            return Err(ErrorData::invalid_params(detail, None));
        };
        let done = match carried::<Sent>(&context)?.arguments() {
            Ok(arguments) => tools::call(tool, session, arguments).await,
            Err(failure) => Err(failure),
        };
        let result = done.and_then(|answer| answer::result(&answer));
        Ok(result.unwrap_or_else(Failure::into_result).into())
    }
}

/// The right that the message has. Nothing else gives one.
fn session(context: &RequestContext<RoleServer>) -> Result<&Session, ErrorData> {
    carried(context)
}

/// What was put into the message at the door.
fn carried<T: Send + Sync + 'static>(context: &RequestContext<RoleServer>) -> Result<&T, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    parts.and_then(|parts| parts.extensions.get::<T>()).ok_or_else(|| {
        tracing::error!("a message has not come through the door");
        ErrorData::internal_error("the server has failed at this message", None)
    })
}
