//! The OpenAPI document describes the server.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::{Level, Operation, Requirement};
use vectorizer_rest::location;

use crate::support::described::{DOCUMENT, fault, resolved};
use crate::support::node::{ACME, Client, Key, Node};

/// The methods a path item can hold, beside its other fields.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

#[tokio::test(flavor = "multi_thread")]
async fn the_served_description_names_every_route_and_no_other() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let answer = node.keyless().get("/openapi.json").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let document = answer.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    assert!(!document["info"]["title"].as_str().unwrap().is_empty());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));

    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|method| METHODS.contains(&method.as_str())) {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let served: BTreeSet<_> = Operation::ALL
        .map(location)
        .map(|(method, path)| (method.to_string(), path.to_owned()))
        .into_iter()
        .collect();
    assert_eq!(served.len(), Operation::ALL.len(), "two operations at one place");
    assert_eq!(described, served);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_whole_every_reference_leads_somewhere_and_every_placeholder_is_a_parameter() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let document = node.keyless().get("/openapi.json").await.expect(200);
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let scheme = &document["components"]["securitySchemes"]["key"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    let mut names = BTreeSet::new();
    for (method, path) in Operation::ALL.map(location) {
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        assert!(
            names.insert(operation["operationId"].as_str().unwrap()),
            "{method} {path}: its id is another's"
        );
        let in_path: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let described: BTreeSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(described, in_path, "{method} {path}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        // An operation is open exactly if it needs no key.
        let open = operation
            .get("security")
            .is_some_and(|security| *security == json!([{}]) || *security == json!([]));
        assert_eq!(open, ["/health", "/ready", "/api/v1/openapi.json"].contains(&path), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_described_with_its_two_formats_and_every_parameter() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let document = node.keyless().get("/openapi.json").await.expect(200);
    let operation = &document["paths"]["/api/v1/log"]["get"];
    let in_query = operation["parameters"].as_array().unwrap().iter().map(resolved);
    let in_query = in_query.filter(|parameter| parameter["in"] == "query");
    let names: BTreeSet<&str> = in_query.map(|parameter| parameter["name"].as_str().unwrap()).collect();
    let known = [
        "follow",
        "format",
        "from",
        "limit",
        "since",
        "to",
        "until",
        "with_payload",
        "with_stored",
        "with_vector",
    ];
    assert_eq!(names, BTreeSet::from(known));
    let parameter = |name: &str| {
        let parameters = operation["parameters"].as_array().unwrap();
        parameters.iter().find(|parameter| parameter["name"] == name).unwrap()
    };
    for name in ["since", "until"] {
        assert_eq!(parameter(name)["schema"]["format"], "date-time", "{name}");
        assert_eq!(parameter(name)["required"], false, "{name}");
    }
    let formats = parameter("format").to_string();
    assert!(formats.contains("\"ndjson\"") && formats.contains("\"csv\""), "{formats}");
    let content = operation["responses"]["200"]["content"].as_object().unwrap();
    assert_eq!(content.keys().collect::<Vec<_>>(), ["application/x-ndjson", "text/csv"]);
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An operation's place in a story in which every one succeeds, and what it is sent.
fn part_in_the_story(operation: Operation) -> (usize, Value) {
    match operation {
        Operation::CreateCollection => (0, json!({"name": "words", "dimension": 1, "metric": "dot"})),
        Operation::UpsertVectors => {
            (1, json!({"vectors": [{"id": "a", "vector": [1], "payload": {"n": 1}}]}))
        }
        Operation::ChangePayload => (2, json!({"n": 2})),
        Operation::Search => (3, json!({"vector": [1], "with_vector": true})),
        Operation::SearchBatch => (3, json!({"searches": [{"vector": [1]}]})),
        Operation::Count => (3, json!({})),
        Operation::DeleteVectors => (3, json!({"ids": ["never"]})),
        Operation::Mcp => (3, json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})),
        Operation::ListCollections
        | Operation::DescribeCollection
        | Operation::DeclareIndex
        | Operation::ListIndexes
        | Operation::ListVectors
        | Operation::GetVector
        | Operation::ReadLog
        | Operation::ReadLogHead
        | Operation::Metrics
        | Operation::ListTenants
        | Operation::ClusterHealth
        | Operation::Usage
        | Operation::ValidateKey
        | Operation::Health
        | Operation::Ready
        | Operation::OpenApi => (3, Value::Null),
        Operation::DeleteVector | Operation::DropIndex => (4, Value::Null),
        Operation::DeleteCollection => (5, Value::Null),
        Operation::DeleteTenant => (6, Value::Null),
        Operation::RestoreTenant => (7, Value::Null),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_with_the_status_type_and_fields_that_are_described() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    let document = client.get("/openapi.json").await.expect(200);
    let mut story = Operation::ALL.map(|operation| (part_in_the_story(operation), operation));
    story.sort_by_key(|((place, _), _)| *place);
    for ((_, body), operation) in story {
        let (method, template) = location(operation);
        let path = template.replace("{name}", "words").replace("tenants/{id}", "tenants/acme");
        let path = path.replace("{id}", "a").replace("{path}", "n");
        let key = match operation.requirement() {
            Requirement::Cluster => Key::Operator,
            Requirement::Tenant(_)
            | Requirement::TenantOrCluster
            | Requirement::AnyKey
            | Requirement::AnyTenant
            | Requirement::Nothing => ACME,
        };
        let mut request = client.request_at(method.clone(), &path).bearer_auth(node.key(key));
        if !body.is_null() {
            request = request.json(&body);
        }
        if operation == Operation::Mcp {
            request = request.header("accept", "application/json, text/event-stream");
        }
        let answer = client.send(request).await;
        let responses = &document["paths"][template][method.as_str().to_lowercase()]["responses"];
        let described = &responses[answer.status.as_str()];
        assert!(
            answer.status.is_success() && described.is_object(),
            "{operation:?}: {} {}",
            answer.status,
            answer.body
        );
        let successes = responses.as_object().unwrap().keys().filter(|status| status.starts_with('2'));
        // A notification of MCP has no answer, and a path may have been declared before.
        let has_two = matches!(operation, Operation::Mcp | Operation::DeclareIndex);
        assert_eq!(successes.count(), if has_two { 2 } else { 1 }, "{operation:?}");
        let content_type = answer.headers["content-type"].to_str().unwrap();
        let schema = &described["content"][content_type]["schema"];
        assert!(schema.is_object(), "{operation:?}: {content_type} is not described");
        has_the_described_fields(&document, schema, &answer.body, &format!("{operation:?}"));
        if method != Method::GET {
            assert_eq!(
                document["paths"][template][method.as_str().to_lowercase()]["requestBody"].is_object(),
                !body.is_null()
            );
        }
    }
}

/// All fields that are required are there, and no field is there that is not described.
fn has_the_described_fields(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(&reference[1..]).unwrap();
        return has_the_described_fields(document, schema, value, place);
    }
    if let Some(all) = schema["allOf"].as_array() {
        // One value in several parts: no part describes all of its fields.
        for part in all {
            for name in part["required"].as_array().into_iter().flatten() {
                assert!(value.get(name.as_str().unwrap()).is_some(), "{place} has no {name}");
            }
        }
        return;
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (number, value) in values.iter().enumerate() {
            has_the_described_fields(document, items, value, &format!("{place}[{number}]"));
        }
    }
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(name.as_str().unwrap()), "{place} has no {name}: {value}");
    }
    for (name, value) in fields {
        let property = properties.get(name).unwrap_or_else(|| panic!("{place}.{name} is not described"));
        has_the_described_fields(document, property, value, &format!("{place}.{name}"));
    }
}

fn described(operation: Operation) -> &'static Value {
    let (method, path) = location(operation);
    &DOCUMENT["paths"][path][method.as_str().to_lowercase()]
}

#[test]
fn every_operation_describes_the_errors_headers_and_conditions_of_its_kind() {
    for operation in Operation::ALL {
        let (method, path) = location(operation);
        let described = described(operation);
        assert_eq!(described["operationId"], operation.name());
        assert_eq!(described["tags"].as_array().unwrap().len(), 1, "{operation:?}");
        let responses = described["responses"].as_object().unwrap();
        let statuses: BTreeSet<&str> = responses.keys().map(String::as_str).collect();
        let (keyed, writes) = match operation.requirement() {
            Requirement::Nothing => (false, false),
            Requirement::Tenant(Level::Write | Level::Admin) => (true, method != Method::GET),
            Requirement::Tenant(Level::Read)
            | Requirement::Cluster
            | Requirement::TenantOrCluster
            | Requirement::AnyKey
            | Requirement::AnyTenant => (true, false),
        };
        let takes_body = described["requestBody"].is_object();
        let mut expected = BTreeSet::from(["403", "500"]);
        let of_tenants = keyed && operation.requirement() != Requirement::Cluster;
        expected.extend(of_tenants.then_some(["421"]).into_iter().flatten());
        expected.extend(keyed.then_some(["400", "401", "429", "503"]).into_iter().flatten());
        expected.extend((takes_body || writes).then_some(["408", "413"]).into_iter().flatten());
        expected.extend(takes_body.then_some(["415", "422"]).into_iter().flatten());
        expected.extend(writes.then_some(["412", "507"]).into_iter().flatten());
        expected.extend(path.contains('{').then_some(["404", "422"]).into_iter().flatten());
        assert!(statuses.is_superset(&expected), "{operation:?}: {statuses:?} lacks some of {expected:?}");
        let parameters: BTreeSet<&str> = described["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| resolved(parameter)["name"].as_str().unwrap())
            .collect();
        assert!(parameters.contains("X-Request-Id"), "{operation:?}");
        assert_eq!(parameters.contains("Idempotency-Key"), writes, "{operation:?}");
        assert_eq!(parameters.contains("If-Match"), writes, "{operation:?}");
        for (status, response) in responses {
            let response = resolved(response);
            assert!(!response["description"].as_str().unwrap().is_empty(), "{operation:?}: {status}");
            assert!(response["headers"]["X-Request-Id"].is_object(), "{operation:?}: {status}");
            let content = response["content"].as_object();
            if status.starts_with(['4', '5']) {
                let types: Vec<&String> = content.unwrap().keys().collect();
                assert_eq!(types, ["application/problem+json"], "{operation:?}: {status}");
            }
            for (header, status_of_it) in
                [("WWW-Authenticate", "401"), ("Retry-After", "429"), ("Retry-After", "503")]
            {
                assert!(
                    status != status_of_it || response["headers"][header].is_object(),
                    "{operation:?}: {status}"
                );
            }
        }
    }
}

/// Calls `visit` with every schema of the description, and where it is.
fn each_schema(value: &Value, place: &str, visit: &mut dyn FnMut(&Value, &str)) {
    match value {
        Value::Object(members) => {
            let names = ["type", "oneOf", "properties"];
            if names.iter().any(|name| members.contains_key(*name)) && !place.ends_with("/properties") {
                visit(value, place);
            }
            for (name, value) in members.iter().filter(|(name, _)| !name.starts_with("example")) {
                each_schema(value, &format!("{place}/{name}"), visit);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| each_schema(value, place, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_example_is_one() {
    let mut examples = 0;
    each_schema(&DOCUMENT, "", &mut |schema, place| {
        let several = schema["examples"].as_array().cloned().unwrap_or_default();
        for example in several.iter().chain(schema.get("example")) {
            assert_eq!(fault(schema, example, false), None, "{place}: {example}");
            examples += 1;
        }
    });
    assert!(examples > 15, "{examples}");
    // Each body that is sent has one, of its own or of its fields.
    let bodies =
        Operation::ALL.map(described).into_iter().filter(|operation| operation["requestBody"].is_object());
    assert!(bodies.count() >= 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_described_as_they_are_read() {
    let data = TempDir::new().unwrap();
    let client = Node::serve(data.path());
    let client = client.keyless();
    client.create("words", 1, "dot").await;
    let schema = json!({"$ref": "#/components/schemas/Filter"});
    let key = |test: Value| {
        let mut condition = json!({"key": "a.b"});
        condition.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
        json!({"must": [condition]})
    };
    let right = [
        json!({"should": [{"has_id": ["a"]}, {"is_null": {"key": "a"}}]}),
        json!({"must_not": {"is_empty": {"key": "a"}}, "must": [{"must": [{"has_id": ["a", "b"]}]}]}),
        key(json!({"match": {"value": "text"}})),
        key(json!({"match": {"value": 9_007_199_254_740_993_i64}})),
        key(json!({"match": {"value": false}})),
        key(json!({"match": {"value": 0.5}})),
        json!({"must": [{"key": "\"a.b\".c[0]", "match": {"value": 1}}, {"is_empty": {"key": "a[]"}}]}),
        key(json!({"match": {"any": ["a", 1, true]}})),
        key(json!({"match": {"except": ["a"]}})),
        key(json!({"range": {"gt": 1, "lte": 2.5}})),
        key(json!({"range": {"gte": -1e300, "lt": 1}})),
    ];
    let wrong = [
        json!([]),
        json!("must"),
        json!({"must": 1}),
        json!({"other": []}),
        json!({"must": [{}, {"unknown": 1}]}),
        json!({"must": [{"key": "a"}]}),
        json!({"must": [{"match": {"value": 1}}]}),
        json!({"must": [{"key": "a", "match": {"value": 1}, "range": {"gt": 1}}]}),
        json!({"must": [{"is_null": {}}]}),
        json!({"must": [{"is_null": {"key": "a", "more": 1}}]}),
        json!({"must": [{"has_id": "a"}]}),
        json!({"must": [{"has_id": [1]}]}),
        json!({"must": [{"has_id": [""]}]}),
        json!({"must": [{"has_id": ["a"], "is_null": {"key": "a"}}]}),
        key(json!({"match": {}})),
        key(json!({"match": {"value": null}})),
        key(json!({"match": {"value": [1]}})),
        key(json!({"match": {"any": 1}})),
        key(json!({"match": {"any": [null]}})),
        key(json!({"match": {"value": 1, "any": [1]}})),
        key(json!({"match": {"text": "a"}})),
        key(json!({"range": {}})),
        key(json!({"range": {"gt": "1"}})),
        key(json!({"range": {"over": 1}})),
        json!({"must": [{"key": 1, "match": {"value": 1}}]}),
        json!({"must": [{"key": "", "match": {"value": 1}}]}),
        json!({"must": [{"key": "a[b]", "match": {"value": 1}}]}),
        json!({"must": [{"key": "\"a", "match": {"value": 1}}]}),
        json!({"must": [{"key": "a..b", "match": {"value": 1}}]}),
    ];
    for filter in right {
        client.post("/collections/words/count", &json!({"filter": filter})).await.expect(200);
        assert_eq!(fault(&schema, &filter, false), None, "{filter}");
    }
    for filter in wrong {
        client.post("/collections/words/count", &json!({"filter": filter})).await.expect(422);
        assert!(fault(&schema, &filter, false).is_some(), "{filter} is refused, and fits the description");
    }
}

/// A request for the operation with a body that it takes, at a collection and a vector that are there.
fn request(client: &Client, operation: Operation, key: Option<&str>, query: &str) -> reqwest::RequestBuilder {
    let (method, template) = location(operation);
    let path =
        template.replace("{name}", "words").replace("tenants/{id}", "tenants/acme").replace("{id}", "a");
    let path = path.replace("{path}", "n");
    let mut request = client.request_at(method, &format!("{path}{query}"));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_refuses_in_the_ways_that_are_described() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 1, "dot").await;
    client
        .put("/collections/words/vectors", &json!({"vectors": [{"id": "a", "vector": [1]}]}))
        .await
        .expect(200);
    for operation in Operation::ALL {
        let requirement = operation.requirement();
        if requirement == Requirement::Nothing {
            continue;
        }
        // Each is held against the description as it is sent.
        let refused = async |request: reqwest::RequestBuilder, status: u16| {
            let answer = client.send(request).await;
            assert_eq!(answer.status, status, "{operation:?}: {}", answer.body);
            answer.problem().to_owned()
        };
        let (_, path) = location(operation);
        let right = if requirement == Requirement::Cluster { Key::Operator } else { ACME };
        let key = node.key(right);
        refused(request(&client, operation, None, ""), 401).await;
        refused(request(&client, operation, Some("hh_live_wrong"), ""), 401).await;
        let weaker = match requirement {
            Requirement::Cluster => Some(ACME),
            Requirement::Tenant(Level::Read) | Requirement::AnyKey | Requirement::TenantOrCluster => {
                Some(Key::Mcp(0))
            }
            Requirement::Tenant(Level::Write | Level::Admin) => Some(Key::ReadOnly(0)),
            Requirement::AnyTenant => Some(Key::Operator),
            Requirement::Nothing => None,
        };
        if let Some(weaker) = weaker {
            refused(request(&client, operation, Some(&node.key(weaker)), ""), 403).await;
        }
        if operation != Operation::Metrics {
            refused(request(&client, operation, Some(&key), "?nonsense=1"), 400).await;
        }
        let described = described(operation);
        let with = |query: &str| request(&client, operation, Some(&key), query);
        if described["requestBody"].is_object() && operation != Operation::Mcp {
            let json = |body: &'static str| with("").header("content-type", "application/json").body(body);
            refused(with("").header("content-type", "text/plain").body("{}"), 415).await;
            refused(json("{"), 400).await;
            refused(json("[1]"), 422).await;
            if operation != Operation::ChangePayload {
                refused(json("{\"nonsense\": 1}"), 422).await;
            }
        }
        if described.to_string().contains("IdempotencyKey") {
            refused(with("").header("idempotency-key", "x".repeat(256)), 400).await;
            refused(with("").header("if-match", "5"), 400).await;
        }
        if path.contains("{name}") {
            let named = |name: &str| {
                let (method, template) = location(operation);
                let path = template.replace("{name}", name).replace("{id}", "a").replace("{path}", "n");
                client.request_at(method, &path).bearer_auth(&key)
            };
            let body = sent(operation);
            let with_body =
                |request: reqwest::RequestBuilder| if body.is_null() { request } else { request.json(&body) };
            assert_eq!(refused(with_body(named("never")), 404).await, "no-such-collection");
            assert_eq!(refused(with_body(named("-")), 422).await, "invalid-name");
            if described.to_string().contains("IdempotencyKey") {
                let stale = with_body(named("words")).header("if-match", "\"1000000\"");
                assert_eq!(refused(stale, 412).await, "precondition-failed");
            }
        }
    }
    client.post("/collections", &json!({"name": "words", "dimension": 1, "metric": "dot"})).await.expect(409);
    // A collection as large as none can be, and a body that says it is larger than any.
    client
        .put("/collections/words/vectors", &json!({"vectors": [{"id": "a", "vector": [1, 2]}]}))
        .await
        .expect(422);
    let large = json!({"vectors": [{"id": "a", "vector": [1], "payload": {"text": "x".repeat(65 * 1024)}}]});
    client.put("/collections/words/vectors", &large).await.expect(413);
}

/// A body that the operation takes.
fn sent(operation: Operation) -> Value {
    part_in_the_story(operation).1
}
