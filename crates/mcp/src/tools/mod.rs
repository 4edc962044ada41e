//! The tools: their names, operations and descriptions. Each has its own file.

mod count;
mod create_collection;
mod delete;
mod delete_collection;
mod describe_collection;
mod get;
mod list_collections;
mod recent_log;
mod search;
mod upsert;
mod usage;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use vectorizer_access::Operation;

use super::answer;
use super::call::Arguments;
use super::failure::Failure;
use super::session::Session;

/// The tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToolName {
    ListCollections,
    DescribeCollection,
    CreateCollection,
    DeleteCollection,
    Upsert,
    Get,
    Delete,
    Search,
    Count,
    Usage,
    RecentLog,
}

impl ToolName {
    pub(super) const ALL: [Self; 11] = [
        Self::ListCollections,
        Self::DescribeCollection,
        Self::Search,
        Self::Get,
        Self::Count,
        Self::Upsert,
        Self::Delete,
        Self::CreateCollection,
        Self::DeleteCollection,
        Self::Usage,
        Self::RecentLog,
    ];

    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ListCollections => "list_collections",
            Self::DescribeCollection => "describe_collection",
            Self::CreateCollection => "create_collection",
            Self::DeleteCollection => "delete_collection",
            Self::Upsert => "upsert",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Search => "search",
            Self::Count => "count",
            Self::Usage => "usage",
            Self::RecentLog => "recent_log",
        }
    }

    /// The operation of the tool, which decides the access that it needs.
    pub(super) const fn operation(self) -> Operation {
        match self {
            Self::ListCollections => Operation::ListCollections,
            Self::DescribeCollection => Operation::DescribeCollection,
            Self::CreateCollection => Operation::CreateCollection,
            Self::DeleteCollection => Operation::DeleteCollection,
            Self::Upsert => Operation::UpsertVectors,
            Self::Get => Operation::GetVector,
            Self::Delete => Operation::DeleteVectors,
            Self::Search => Operation::Search,
            Self::Count => Operation::Count,
            Self::Usage => Operation::Usage,
            Self::RecentLog => Operation::ReadLog,
        }
    }
}

/// The description of a tool, for a model that does not know this product.
pub(super) struct Description {
    title: &'static str,
    text: &'static str,
    effect: Effect,
    /// The JSON Schema of the arguments' properties, and the required ones.
    arguments: Value,
    required: &'static [&'static str],
    /// The JSON Schema of the answer's properties.
    answer: Value,
}

/// The effect of a call on the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Reads,
    /// It loses no data. Repeating it is an error or has a further effect.
    Adds,
    /// It may replace or delete data. Repeating it has no further effect.
    Replaces,
}

pub(super) fn describe(tool: ToolName) -> Tool {
    let Description { title, text, effect, arguments, required, answer } = match tool {
        ToolName::ListCollections => list_collections::describe(),
        ToolName::DescribeCollection => describe_collection::describe(),
        ToolName::CreateCollection => create_collection::describe(),
        ToolName::DeleteCollection => delete_collection::describe(),
        ToolName::Upsert => upsert::describe(),
        ToolName::Get => get::describe(),
        ToolName::Delete => delete::describe(),
        ToolName::Search => search::describe(),
        ToolName::Count => count::describe(),
        ToolName::Usage => usage::describe(),
        ToolName::RecentLog => recent_log::describe(),
    };
    let object = |properties: Value, required: &[&str], is_closed: bool| {
        let mut schema = JsonObject::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), properties);
        schema.insert("required".to_owned(), required.into());
        if is_closed {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
        Arc::new(schema)
    };
    let annotations = ToolAnnotations::with_title(title)
        .read_only(effect == Effect::Reads)
        .destructive(effect == Effect::Replaces)
        .idempotent(effect != Effect::Adds)
        .open_world(false);
    Tool::new_with_raw(tool.as_str(), Some(text.into()), object(arguments, required, true))
        .with_title(title)
        .with_raw_output_schema(object(answer, &[], false))
        .with_annotations(annotations)
}

/// The schema of a value that may be null. Not every client supports a list of types, which would say the same.
fn nullable(kind: &str, description: &str) -> Value {
    json!({"anyOf": [{"type": kind}, {"type": "null"}], "description": description})
}

/// The names of a tool's arguments.
fn names(tool: ToolName) -> &'static BTreeSet<String> {
    static NAMES: LazyLock<[BTreeSet<String>; ToolName::ALL.len()]> = LazyLock::new(|| {
        ToolName::ALL.map(|tool| {
            let schema = describe(tool).input_schema;
            let properties = schema.get("properties").and_then(Value::as_object);
            properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
        })
    });
    static NONE: BTreeSet<String> = BTreeSet::new();
    let place = ToolName::ALL.iter().position(|listed| *listed == tool);
    place.map_or(&NONE, |place| &NAMES[place])
}

/// Calls a tool and returns its answer, the bytes of JSON.
pub(super) async fn call(
    tool: ToolName,
    session: &Session,
    arguments: Arguments,
) -> Result<Vec<u8>, Failure> {
    let call = super::call::Call::enter(session, tool.operation()).await?;
    arguments.reject_aliases(names(tool))?;
    let answer = match tool {
        ToolName::Search => return search::call(&call, arguments).await,
        ToolName::ListCollections => list_collections::call(&call, arguments).await,
        ToolName::DescribeCollection => describe_collection::call(&call, arguments).await,
        ToolName::CreateCollection => create_collection::call(&call, arguments).await,
        ToolName::DeleteCollection => delete_collection::call(&call, arguments).await,
        ToolName::Upsert => upsert::call(&call, arguments).await,
        ToolName::Get => get::call(&call, arguments).await,
        ToolName::Delete => delete::call(&call, arguments).await,
        ToolName::Count => count::call(&call, arguments).await,
        ToolName::Usage => usage::call(&call, arguments).await,
        ToolName::RecentLog => recent_log::call(&call, arguments).await,
    };
    answer.map(answer::bytes)
}
