//! What the server answers to bad requests, all in one file for people to read: `tests/snapshots/messages.snap`. Each
//! line has what was sent, and the answer's status, code and words. Read it as a person who has made the mistake.

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{Client, Node};
use crate::support::snapshots::assert_snapshot;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

/// At most so much of what was sent is shown.
const SHOWN_MAX: usize = 120;

fn deep(depth: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

/// Bad bodies, by method, path and content type.
#[expect(clippy::too_many_lines, reason = "a table, one line a case")]
fn bodies() -> Vec<(Method, &'static str, &'static str, String)> {
    let mut bodies = Vec::new();
    let mut all = |method: Method, path: &'static str, content_type: &'static str, texts: &[&str]| {
        bodies.extend(texts.iter().map(|text| (method.clone(), path, content_type, (*text).to_owned())));
    };
    all(
        Method::POST,
        "/collections",
        JSON,
        &[
            "",
            "{",
            "{]",
            "nonsense",
            "tru",
            "{\"name\":\"a\"",
            "{\"name\":\"a\",}",
            "{'name':'a'}",
            "{\"name\":\"a\nb\"}",
            "{} {}",
            "5",
            "null",
            "\"a\"",
            "[]",
            r#"["arr",3,"dot",null,null]"#,
            "{}",
            r#"{"name":"a"}"#,
            r#"{"name":"a","dimension":3}"#,
            r#"{"name":"a","metric":"dot"}"#,
            r#"{"name":5,"dimension":3,"metric":"dot"}"#,
            r#"{"name":"a b","dimension":3,"metric":"dot"}"#,
            r#"{"name":"","dimension":3,"metric":"dot"}"#,
            r#"{"name":"\ud800","dimension":3,"metric":"dot"}"#,
            r#"{"name":"words","dimension":3,"metric":"dot"}"#,
            r#"{"name":"a","dimension":0,"metric":"dot"}"#,
            r#"{"name":"a","dimension":16385,"metric":"dot"}"#,
            r#"{"name":"a","dimension":-1,"metric":"dot"}"#,
            r#"{"name":"a","dimension":1.5,"metric":"dot"}"#,
            r#"{"name":"a","dimension":1e999,"metric":"dot"}"#,
            r#"{"name":"a","dimension":"3","metric":"dot"}"#,
            r#"{"name":"a","dimension":null,"metric":"dot"}"#,
            r#"{"name":"a","dimension":3,"metric":"manhattan"}"#,
            r#"{"name":"a","dimension":3,"metric":5}"#,
            r#"{"name":"a","dimension":3,"metric":{"dot":null}}"#,
            r#"{"name":"a","dimension":3,"metric":"dot","text":"yes"}"#,
            r#"{"name":"a","dimension":3,"metric":"dot","index":[16]}"#,
            r#"{"name":"a","dimension":3,"metric":"dot","index":{"m":1}}"#,
            r#"{"name":"a","dimension":3,"metric":"dot","index":{"m":65536}}"#,
            r#"{"name":"a","dimension":3,"metric":"dot","index":{"surprise":1}}"#,
            r#"{"name":"a","dimension":3,"metric":"dot","surprise":1}"#,
            r#"{"name":"a","name":"b","dimension":3,"metric":"dot"}"#,
            r#"{"name":"a","text":true,"index":{}}"#,
        ],
    );
    all(
        Method::PUT,
        "/collections/words/vectors",
        JSON,
        &[
            "[]",
            "{}",
            r#"{"vectors":{}}"#,
            r#"{"vectors":[]}"#,
            r#"{"vectors":[5]}"#,
            r#"{"vectors":[["a",[1,2,3]]]}"#,
            r#"{"vectors":[{"vector":[1,2,3]}]}"#,
            r#"{"vectors":[{"id":5,"vector":[1,2,3]}]}"#,
            r#"{"vectors":[{"id":"","vector":[1,2,3]}]}"#,
            r#"{"vectors":[{"id":"a\nb","vector":[1,2,3]}]}"#,
            r#"{"vectors":[{"id":"a"}]}"#,
            r#"{"vectors":[{"id":"a","vector":null}]}"#,
            r#"{"vectors":[{"id":"a","vector":5}]}"#,
            r#"{"vectors":[{"id":"a","vector":{}}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,2]}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,"2",3]}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,null,3]}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,[2],3]}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,1e39,3]}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,1e999,3]}]}"#,
            r#"{"vectors":[{"id":"a","vector":[0,0,0]}]}"#,
            r#"{"vectors":[{"id":"a","vector":"?"}]}"#,
            r#"{"vectors":[{"id":"a","vector":"AAAA"}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,2,3],"text":"x"}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,2,3],"text":5}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,2,3],"payload":5}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,2,3],"payload":[]}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,2,3],"payload":{"a":1e999}}]}"#,
            r#"{"vectors":[{"id":"a","vector":[1,2,3],"payload":{"a":["\ud800"]}}]}"#,
            &format!(r#"{{"vectors":[{{"id":"a","vector":[1,2,3],"payload":{}}}]}}"#, deep(40)),
            r#"{"vectors":[{"id":"a","vector":[1,2,3]},{"id":"a","vector":[1,2,3]}]}"#,
            r#"{"points":[{"id":"a","vector":[1,2,3]}]}"#,
        ],
    );
    all(
        Method::PUT,
        "/collections/words/vectors",
        LINES,
        &[
            "",
            "[]",
            "5",
            "{\"id\":\"a\",\"vector\":[1,2,3]}\n{\"id\":5}",
            "{\"id\":\"a\",\"vector\":[1,2,3]}\n{",
        ],
    );
    all(Method::PUT, "/collections/none/vectors", JSON, &[r#"{"vectors":[{"id":"a","vector":[1,2,3]}]}"#]);
    all(
        Method::PUT,
        "/collections/texts/vectors",
        JSON,
        &[
            r#"{"vectors":[{"id":"a"}]}"#,
            r#"{"vectors":[{"id":"a","text":""}]}"#,
            r#"{"vectors":[{"id":"a","text":"x","vector":[1]}]}"#,
        ],
    );
    all(
        Method::PATCH,
        "/collections/words/vectors/one/payload",
        JSON,
        &["5", "null", "[]", "{", r#"{"a":1e999}"#],
    );
    all(Method::PATCH, "/collections/words/vectors/none/payload", JSON, &["{}"]);
    all(
        Method::POST,
        "/collections/words/vectors/delete",
        JSON,
        &[
            "[]",
            "{}",
            r#"{"ids":"one"}"#,
            r#"{"ids":[5]}"#,
            r#"{"ids":[""]}"#,
            r#"{"ids":["one","one"]}"#,
            r#"{"ids":["one"],"filter":{"must":[{"has_id":["one"]}]}}"#,
            r#"{"filter":{}}"#,
        ],
    );
    all(
        Method::POST,
        "/collections/words/search",
        JSON,
        &[
            "[]",
            "{}",
            r#"{"vector":[1,2,3],"limit":0}"#,
            r#"{"vector":[1,2,3],"limit":"10"}"#,
            r#"{"vector":[1,2,3],"limit":-1}"#,
            r#"{"vector":[1,2,3],"ef":5000}"#,
            r#"{"vector":[1,2,3],"exact":"yes"}"#,
            r#"{"vector":[1,2,3],"score_threshold":1e39}"#,
            r#"{"vector":[1,2,3],"score_threshold":"x"}"#,
            r#"{"vector":[1,2,3],"rank_by":"words"}"#,
            r#"{"vector":[1,2,3],"rank_by":"text"}"#,
            r#"{"vector":[1,2,3],"rank_by":"both"}"#,
            r#"{"vector":[1,2,3],"top_k":5}"#,
            r#"{"vector":[1,2]}"#,
            r#"{"vector":[0,0,0]}"#,
            r#"{"text":"x"}"#,
            r#"{"text":5}"#,
            r#"{"text":"x","rank_by":"vector"}"#,
            r#"{"vector":[1,2,3],"filter":5}"#,
            r#"{"vector":[1,2,3],"filter":[]}"#,
            r#"{"vector":[1,2,3],"filter":{"all":[]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":5}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[["a",{"value":1}]]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[{"key":"a"}]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[{"key":5,"match":{"value":1}}]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[{"match":{"value":1}}]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[{"key":"a","match":{"value":null}}]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[{"key":"a","match":{"any":5}}]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[{"key":"a","range":{}}]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[{"key":"a","range":{"gt":"5"}}]}}"#,
            r#"{"vector":[1,2,3],"filter":{"must":[{"has_id":[5]}]}}"#,
            &format!(r#"{{"vector":[1,2,3],"filter":{}}}"#, deep(40)),
        ],
    );
    all(Method::POST, "/collections/texts/search", JSON, &[r#"{"vector":[1,2,3]}"#, r#"{"text":""}"#]);
    all(
        Method::POST,
        "/collections/words/search/batch",
        JSON,
        &[
            "[]",
            "{}",
            r#"{"searches":{}}"#,
            r#"{"searches":[]}"#,
            r#"{"searches":[{"vector":[1,2,3]},5]}"#,
            r#"{"searches":[{"vector":[1,2,3]},{"vector":[1,2,3],"limit":0}]}"#,
            r#"{"searches":[{"vector":[1,2,3]},{"vector":[1,2,3],"filter":{"all":[]}}]}"#,
            &format!(r#"{{"searches":[{}]}}"#, vec![r#"{"vector":[1,2,3]}"#; 101].join(",")),
        ],
    );
    all(Method::POST, "/collections/words/count", JSON, &["[]", "5", r#"{"filter":"x"}"#, r#"{"where":{}}"#]);
    all(Method::POST, "/collections/words/count", "text/plain", &["{}"]);
    all(Method::PUT, "/collections/words/indexes/a", JSON, &["{}"]);
    bodies
}

/// Bad requests without a body.
const WITHOUT_BODY: [(Method, &str); 36] = [
    (Method::GET, "/nowhere"),
    (Method::PUT, "/collections"),
    (Method::GET, "/collections?limit=5"),
    (Method::GET, "/collections/a%20b"),
    (Method::GET, "/collections/%ff"),
    (Method::GET, "/collections/none"),
    (Method::DELETE, "/collections/none"),
    (Method::GET, "/collections/words/vectors?limit=0"),
    (Method::GET, "/collections/words/vectors?limit=1001"),
    (Method::GET, "/collections/words/vectors?limit=-1"),
    (Method::GET, "/collections/words/vectors?limit=x"),
    (Method::GET, "/collections/words/vectors?limit="),
    (Method::GET, "/collections/words/vectors?limit=1&limit=2"),
    (Method::GET, "/collections/words/vectors?with_vector=yes"),
    (Method::GET, "/collections/words/vectors?surprise=1"),
    (Method::GET, "/collections/words/vectors?cursor=!!"),
    (Method::GET, "/collections/words/vectors/none"),
    (Method::GET, "/collections/words/vectors/%ff"),
    (Method::GET, "/collections/words/vectors/a%00b"),
    (Method::GET, "/collections/words/vectors/one?limit=1"),
    (Method::DELETE, "/collections/words/vectors/none"),
    (Method::PUT, "/collections/words/indexes/a."),
    (Method::PUT, "/collections/words/indexes/a%5B0%5D.b"),
    (Method::PUT, "/collections/words/indexes/a%5D"),
    (Method::PUT, "/collections/words/indexes/%ff"),
    (Method::PUT, "/collections/none/indexes/a"),
    (Method::DELETE, "/collections/words/indexes/a"),
    (Method::GET, "/collections/none/indexes"),
    (Method::GET, "/log?from=x"),
    (Method::GET, "/log?since=yesterday"),
    (Method::GET, "/log?since=2026-13-01T00:00:00Z"),
    (Method::GET, "/log?format=xml"),
    (Method::GET, "/log?follow=1"),
    (Method::GET, "/cluster/tenants?limit=x"),
    (Method::GET, "/cluster/usage?tenant=a%20b"),
    (Method::GET, "/cluster/usage?surprise=1"),
];

/// Bad calls of tools.
fn calls() -> Vec<(&'static str, &'static str)> {
    vec![
        ("none", "{}"),
        ("count", "5"),
        ("count", "[]"),
        ("count", r#"["words"]"#),
        ("count", "{}"),
        ("count", r#"{"collection":5}"#),
        ("count", r#"{"collection":""}"#),
        ("count", r#"{"collection":".."}"#),
        ("count", r#"{"collection":"none"}"#),
        ("count", r#"{"collection":"words","collection":"words"}"#),
        ("count", r#"{"collection":"words","filter":5}"#),
        ("count", r#"{"collection":"words","filter":{"must":[["a"]]}}"#),
        ("count", r#"{"collection":"words","surprise":1}"#),
        ("describe_collection", r#"{"collection":"words","surprise":1}"#),
        ("list_collections", r#"{"limit":0}"#),
        ("list_collections", r#"{"limit":"all"}"#),
        ("list_collections", r#"{"limit":1.5}"#),
        ("list_collections", r#"{"cursor":"!"}"#),
        ("create_collection", "{}"),
        ("create_collection", r#"{"collection":"a","dimension":"3","metric":"dot"}"#),
        ("create_collection", r#"{"collection":"a","dimension":3,"metric":"dot","idempotency_key":"é"}"#),
        ("get", r#"{"collection":"words"}"#),
        ("get", r#"{"collection":"words","ids":"one"}"#),
        ("get", r#"{"collection":"words","ids":[]}"#),
        ("get", r#"{"collection":"words","ids":[5]}"#),
        ("get", r#"{"collection":"words","ids":[""]}"#),
        ("get", r#"{"collection":"words","ids":["one"],"with_vector":"yes"}"#),
        ("delete", r#"{"collection":"words"}"#),
        ("delete", r#"{"collection":"words","ids":["one"],"filter":{"must":[]}}"#),
        ("search", r#"{"collection":"words"}"#),
        ("search", r#"{"collection":"words","vector":["1"]}"#),
        ("search", r#"{"collection":"words","vector":[1,2,3],"limit":0}"#),
        ("upsert", r#"{"collection":"words"}"#),
        ("upsert", r#"{"collection":"words","records":{}}"#),
        ("upsert", r#"{"collection":"words","records":[]}"#),
        ("upsert", r#"{"collection":"words","records":[["a"]]}"#),
        ("upsert", r#"{"collection":"words","records":[{"id":5}]}"#),
        ("upsert", r#"{"collection":"words","records":[{"id":"a","vector":[1,2]}]}"#),
        ("upsert", r#"{"collection":"words","records":[{"id":"a","vector":[1,2,3],"payload":{"n":1e999}}]}"#),
        ("upsert", r#"{"collection":"words","records":[{"id":"a","vector":[1,2,3]}],"surprise":1}"#),
    ]
}

fn shown(text: &str) -> String {
    let text = text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
    match text.char_indices().nth(SHOWN_MAX) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

async fn of_rest(client: &Client) -> Vec<String> {
    let mut lines = Vec::new();
    for (method, path, content_type, body) in bodies() {
        let sent = if content_type == JSON { String::new() } else { format!(" ({content_type})") };
        let sent = format!("{method} {path}{sent} {}", shown(&body));
        let request = client.request(method, path).header("content-type", content_type).body(body);
        let answer = client.send(request).await;
        lines.push(format!(
            "{sent}  =>  {} {}: {}",
            answer.status.as_u16(),
            answer.problem(),
            answer.detail()
        ));
    }
    for (method, path) in WITHOUT_BODY {
        let answer = client.send(client.request(method.clone(), path)).await;
        let (status, problem) = (answer.status.as_u16(), answer.problem());
        lines.push(format!("{method} {path}  =>  {status} {problem}: {}", answer.detail()));
    }
    lines
}

async fn of_tools(client: &Client) -> Vec<String> {
    let mut lines = Vec::new();
    for (tool, arguments) in calls() {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        let request = client.request_at(Method::POST, "/mcp").header("content-type", JSON);
        let request = request.header("accept", "application/json, text/event-stream").body(message);
        let answer: Value = client.send(request).await.body;
        let said = match (&answer["error"], &answer["result"]["structuredContent"]) {
            (Value::Null, told) => format!(
                "{}: {} | {}",
                told["problem"].as_str().unwrap(),
                told["detail"].as_str().unwrap(),
                told["what_to_do"].as_str().unwrap()
            ),
            (error, _) => format!("{}: {}", error["code"], error["message"].as_str().unwrap()),
        };
        lines.push(format!("MCP {tool} {}  =>  {said}", shown(arguments)));
    }
    lines
}

/// Words that only programs of this language have, and what serde says by itself.
const OF_RUST: [&str; 15] = [
    "u64",
    "usize",
    "u32",
    "u16",
    "struct ",
    "enum ",
    "variant",
    "invalid type",
    "invalid value",
    "untagged",
    "borrowed",
    " at line 1 column",
    "sequence",
    " map",
    "Err(",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_to_bad_requests_are_those_of_the_snapshot() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 3, "cosine").await;
    client.post("/collections", &json!({"name": "texts", "text": true})).await.expect(201);
    let one = json!({"vectors": [{"id": "one", "vector": [1, 2, 3]}]});
    client.put("/collections/words/vectors", &one).await.expect(200);
    let lines: Vec<String> = [of_rest(&client).await, of_tools(&client).await].concat();
    assert_snapshot("messages", &lines.join("\n"));
    for line in &lines {
        let (_, told) = line.split_once("  =>  ").unwrap();
        let of_rust = OF_RUST.iter().find(|word| told.contains(**word));
        assert_eq!(of_rust, None, "{line}");
    }
}
