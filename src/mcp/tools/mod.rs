//! The tools: what each is called, whom it is for, and what it does. One file each.

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

use super::answer::Json;
use super::call::Arguments;
use super::failure::Failure;
use super::session::Session;
use crate::auth::Operation;

/// Every tool there is.
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

    const fn as_str(self) -> &'static str {
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

    /// What it does, and what that needs.
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

/// What a model that has never seen this product is told about a tool.
pub(super) struct Description {
    title: &'static str,
    text: &'static str,
    effect: Effect,
    /// JSON Schema of the arguments' properties, and which of them there must be.
    arguments: Value,
    needed: &'static [&'static str],
    /// JSON Schema of the answer's properties.
    answer: Value,
}

/// What a call does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Reads,
    /// Nothing that is there is lost, and twice is an error or something else than once.
    Adds,
    /// What is there may be replaced or gone; twice is as good as once.
    Replaces,
}

pub(super) fn describe(tool: ToolName) -> Tool {
    let Description { title, text, effect, arguments, needed, answer } = match tool {
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
    Tool::new_with_raw(tool.as_str(), Some(text.into()), object(arguments, needed, true))
        .with_title(title)
        .with_raw_output_schema(object(answer, &[], false))
        .with_annotations(annotations)
}

/// What a schema says of what may be missing. A list of types in one place would say the same, but not to every client.
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

/// What it answers.
pub(super) async fn call(tool: ToolName, session: &Session, arguments: Arguments) -> Result<Json, Failure> {
    let call = super::call::Call::enter(session, tool.operation()).await?;
    arguments.expect_names(names(tool))?;
    match tool {
        ToolName::ListCollections => list_collections::call(&call, arguments).await,
        ToolName::DescribeCollection => describe_collection::call(&call, arguments).await,
        ToolName::CreateCollection => create_collection::call(&call, arguments).await,
        ToolName::DeleteCollection => delete_collection::call(&call, arguments).await,
        ToolName::Upsert => upsert::call(&call, arguments).await,
        ToolName::Get => get::call(&call, arguments).await,
        ToolName::Delete => delete::call(&call, arguments).await,
        ToolName::Search => search::call(&call, arguments).await,
        ToolName::Count => count::call(&call, arguments).await,
        ToolName::Usage => usage::call(&call, arguments).await,
        ToolName::RecentLog => recent_log::call(&call, arguments).await,
    }
}
