//! What a server takes and answers, held against the description that it serves: by every request of every test.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use reqwest::Request;
use serde_json::{Value, json};

use super::node::Answer;

/// Larger bodies are left out: a test that measures time shares the machine with this.
const BYTES_MAX: usize = 16 * 1024;

const NDJSON: &str = "application/x-ndjson";

/// Headers of answers that a client may act on.
const HEADERS: [&str; 9] = [
    "etag",
    "idempotency-replayed",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "www-authenticate",
    "x-request-id",
    "deprecation",
];

/// The description of this server.
pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(vectorizer_rest::document()).unwrap());

/// What stands at a place of the description, wherever it is written.
pub(crate) fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => resolved(DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap()),
        None => value,
    }
}

/// Schemas that were compiled, by their text.
struct Compiled {
    schemas: Schemas,
    /// Without fields that are not described.
    answers: HashMap<String, SchemaIndex>,
    requests: HashMap<String, SchemaIndex>,
}

static COMPILED: LazyLock<Mutex<Compiled>> = LazyLock::new(|| {
    Mutex::new(Compiled { schemas: Schemas::new(), answers: HashMap::new(), requests: HashMap::new() })
});

/// Closes every object whose fields are described: of an answer, each field has to be.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong with `value` under a schema of the description.
pub(crate) fn fault(schema: &Value, value: &Value, is_answer: bool) -> Option<String> {
    let mut compiled = COMPILED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Compiled { schemas, answers, requests } = &mut *compiled;
    let known = if is_answer { answers } else { requests };
    let index = *known.entry(schema.to_string()).or_insert_with(|| {
        let mut root = schema.clone();
        root["components"] = DOCUMENT["components"].clone();
        if is_answer {
            close(&mut root);
        }
        let place = format!("http://description.test/{}", schemas.size());
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler.add_resource(&place, root).unwrap();
        compiler.compile(&place, schemas).unwrap_or_else(|error| panic!("{schema}: {error:#}"))
    });
    schemas.validate(value, index).err().map(|error| format!("{error:#}"))
}

/// The template and the description of what is at this path; of several templates, the most literal one.
fn operation(method: &str, path: &str) -> Option<(&'static str, &'static Value)> {
    let parts: Vec<&str> = path.split('/').collect();
    let stands_for = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        let fits =
            |(wanted, part): (&&str, &&str)| wanted == part || (wanted.starts_with('{') && !part.is_empty());
        wanted.len() == parts.len() && wanted.iter().zip(&parts).all(fits)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let found = paths.iter().filter(|(template, _)| stands_for(template));
    let found =
        found.filter_map(|(template, item)| Some((template.as_str(), item.get(method.to_lowercase())?)));
    found.min_by_key(|(template, _)| template.matches('{').count())
}

/// Holds a request and its answer against the description.
#[track_caller]
pub(crate) fn assert_described(asked: &Asked, answer: &Answer) {
    let Asked { method, path, query, content_type, body } = asked;
    let (status, place) = (answer.status, format!("{method} {path}: {}", answer.status));
    let sent_type = |value: &str| value.split(';').next().unwrap_or_default().trim().to_owned();
    let content_type_of_answer =
        answer.headers.get("content-type").map(|value| sent_type(value.to_str().unwrap()));
    let Some((template, operation)) = operation(method, path) else {
        // Nothing is there, or not for this method; or it is one of the paths that clients shorten for the ids "."
        // and "..".
        let is_shortened = path.ends_with('/') || path.ends_with("/payload");
        assert!(!status.is_success() || is_shortened, "{place}: it is not described");
        return;
    };
    // An error of JSON-RPC has the status that MCP gives it.
    if template == "/mcp" && answer.body.get("jsonrpc").is_some() {
        return;
    }
    let responses = operation["responses"].as_object().unwrap();
    let Some(response) = responses.get(status.as_str()) else {
        panic!("{place} is not described for {template}: {}", answer.body);
    };
    let response = resolved(response);
    let described = response["headers"].as_object().cloned().unwrap_or_default();
    for name in HEADERS.iter().filter(|name| answer.headers.contains_key(**name)) {
        assert!(
            described.keys().any(|known| known.eq_ignore_ascii_case(name)),
            "{place}: {name} is not described"
        );
    }
    if let Some(content) = response.get("content") {
        let sent = content_type_of_answer.unwrap_or_default();
        let found = content.as_object().unwrap().iter().find(|(known, _)| sent_type(known) == sent);
        let Some((_, content)) = found else { panic!("{place}: {sent:?} is not described") };
        let text = answer.body.to_string();
        if text.len() > BYTES_MAX {
            return;
        }
        if sent == NDJSON {
            for line in lines(&answer.body) {
                let fault = fault(&content["x-item-schema"], &line, true);
                assert_eq!(fault, None, "{place}: {line}");
            }
        } else if sent.ends_with("json") {
            let fault = fault(&content["schema"], &answer.body, true);
            assert_eq!(fault, None, "{place}: {}", answer.body);
        }
    }
    if !status.is_success() {
        return;
    }
    // What was taken is described, too.
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    for name in query.iter().filter(|_| template.starts_with("/api/") && !template.ends_with("openapi.json"))
    {
        let is_it = |parameter: &Value| {
            let parameter = resolved(parameter);
            parameter["in"] == "query" && parameter["name"] == **name
        };
        assert!(parameters.iter().any(is_it), "{place} took the parameter {name:?}, which is not described");
    }
    if let (Some(content_type), Some(body)) = (content_type, body)
        && !body.is_empty()
        && body.len() <= BYTES_MAX
        // A body that is sent where none is asked for is not read.
        && operation.get("requestBody").is_some()
    {
        let content = &operation["requestBody"]["content"];
        let content_type = sent_type(content_type);
        let described = content.get(&content_type);
        let Some(described) = described else {
            panic!("{place} took {content_type:?}, which is not described")
        };
        if content_type.ends_with("json") && content_type != NDJSON {
            let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
            let fault = fault(&described["schema"], &body, false);
            assert_eq!(fault, None, "{place} took {body}");
        }
    }
}

/// The lines of NDJSON; one alone has been read as JSON.
fn lines(body: &Value) -> Vec<Value> {
    match body {
        Value::String(text) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        Value::Object(_) => vec![body.clone()],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            panic!("{body} is no line of a log")
        }
    }
}

/// What is known of a request when its answer comes.
pub(crate) struct Asked {
    method: String,
    path: String,
    query: Vec<String>,
    content_type: Option<String>,
    /// Its body, unless it is packed or comes from elsewhere.
    body: Option<Vec<u8>>,
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        let header =
            |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = request.body().and_then(|body| body.as_bytes()).map(<[u8]>::to_vec);
        Self {
            method: request.method().to_string(),
            path: request.url().path().to_owned(),
            query: request.url().query_pairs().map(|(name, _)| name.into_owned()).collect(),
            content_type: header("content-type"),
            body: body.filter(|_| header("content-encoding").is_none()),
        }
    }
}
