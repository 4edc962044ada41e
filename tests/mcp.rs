//! MCP: an agent gets its tenant's collections, as far as its key reaches, and nothing else.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::hub_and_node::Cluster;
use crate::support::limits::within_a_second;
use crate::support::node::{ACME, Answer, Client, GLOBEX, Key, Node};

const READS: [&str; 6] = ["list_collections", "describe_collection", "search", "get", "count", "usage"];
const WRITES: [&str; 2] = ["upsert", "delete"];
const ADMINS: [&str; 3] = ["create_collection", "delete_collection", "recent_log"];

/// The largest message. One that is a little larger has come whole before it is refused.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// An agent with a key.
struct Agent {
    client: Client,
    key: Option<String>,
}

impl Agent {
    fn new(node: &Node, key: Key) -> Self {
        Self { client: node.keyless(), key: Some(node.key(key)) }
    }

    fn request(&self, message: &Value) -> reqwest::RequestBuilder {
        let request = self.client.request_at(Method::POST, "/mcp");
        let request = request.header("accept", "application/json, text/event-stream").json(message);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// The same of a message that is written already.
    fn written(&self, message: &str) -> reqwest::RequestBuilder {
        self.request(&Value::Null).body(message.to_owned())
    }

    async fn say(&self, method: &str, params: Value) -> Answer {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.client.send(self.request(&message)).await
    }

    /// The result of a call, whatever it is.
    async fn result(&self, tool: &str, arguments: Value) -> Value {
        let answer = self.say("tools/call", json!({"name": tool, "arguments": arguments})).await.expect(200);
        assert_eq!(answer["id"], 1, "{answer}");
        answer["result"].clone()
    }

    /// What a call gives, which goes well.
    #[track_caller]
    fn call(&self, tool: &str, arguments: Value) -> impl Future<Output = Value> {
        let tool = tool.to_owned();
        async move {
            let result = self.result(&tool, arguments).await;
            assert_eq!(result["isError"], false, "{tool}: {result}");
            // The same for clients that only know texts.
            let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
            assert_eq!(text, result["structuredContent"]);
            text
        }
    }

    /// The problem of a call, which fails and says what to do.
    async fn refused(&self, tool: &str, arguments: Value) -> String {
        let result = self.result(tool, arguments).await;
        assert_eq!(result["isError"], true, "{tool}: {result}");
        let told = &result["structuredContent"];
        assert!(told["detail"].as_str().unwrap().len() > 10, "{told}");
        assert!(told["what_to_do"].as_str().unwrap().len() > 10, "{told}");
        told["problem"].as_str().unwrap().to_owned()
    }

    async fn tools(&self) -> Vec<Value> {
        let listed = self.say("tools/list", json!({})).await.expect(200);
        listed["result"]["tools"].as_array().unwrap().clone()
    }
}

async fn with_notes(agent: &Agent, texts: usize) {
    agent.call("create_collection", json!({"collection": "notes", "text": true})).await;
    let records: Vec<Value> = (0..texts)
        .map(|number| {
            json!({"id": format!("n{number:03}"), "text": format!("note {number} of the crown"), "payload": {"number": number}})
        })
        .collect();
    agent.call("upsert", json!({"collection": "notes", "records": records})).await;
}

/// Arguments with which each tool does something in the collection of [`with_notes`].
fn arguments(tool: &str) -> Value {
    match tool {
        "create_collection" => json!({"collection": "other", "text": true}),
        "describe_collection" | "delete_collection" | "count" => json!({"collection": "notes"}),
        "upsert" => json!({"collection": "notes", "records": [{"id": "n000", "text": "another crown"}]}),
        "get" | "delete" => json!({"collection": "notes", "ids": ["n000"]}),
        "search" => json!({"collection": "notes", "text": "crown"}),
        _ => json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_keeps_texts_finds_them_and_clears_up() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let hello = agent.say("initialize", hello).await.expect(200);
    assert_eq!(hello["result"]["serverInfo"]["name"], "vectorizer");
    assert!(hello["result"]["instructions"].as_str().unwrap().contains("list_collections"));
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    agent.client.send(agent.request(&ready)).await.expect(202);

    assert_eq!(
        agent.call("list_collections", json!({})).await,
        json!({"collections": [], "next_cursor": null})
    );
    with_notes(&agent, 20).await;
    let described = agent.call("describe_collection", json!({"collection": "notes"})).await;
    assert_eq!((&described["count"], &described["text"]), (&json!(20), &json!(true)));
    let search = json!({
        "collection": "notes", "text": "Crowns note 7 crown",
        "filter": {"must": [{"key": "number", "range": {"lt": 10}}]}
    });
    let found = agent.call("search", search).await;
    assert_eq!(found["results"].as_array().unwrap().len(), 10);
    assert_eq!(found["results"][0]["id"], "n007");
    let filter = json!({"must": [{"key": "number", "range": {"gte": 10}}]});
    assert_eq!(agent.call("count", json!({"collection": "notes", "filter": filter})).await["count"], 10);
    assert_eq!(agent.call("delete", json!({"collection": "notes", "filter": filter})).await["deleted"], 10);
    let got =
        agent.call("get", json!({"collection": "notes", "ids": ["n001", "n011", "a/b?c", "n000"]})).await;
    assert_eq!(got["records"][1]["text"], "note 0 of the crown");
    assert_eq!(got["missing"], json!(["n011", "a/b?c"]));
    assert_eq!(agent.call("usage", json!({})).await["usage"]["vectors"], 10);
    let log = agent.call("recent_log", json!({"limit": 2})).await;
    assert_eq!(log["records"][0]["event"]["type"], "vectors_deleted");
    assert_eq!(log["records"][0]["actor"]["via"], "mcp");
    assert_eq!(agent.call("delete_collection", json!({"collection": "notes"})).await["records_deleted"], 10);
    // The same data as over REST.
    assert_eq!(node.client(ACME).get("/collections").await.expect(200)["collections"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_sees_exactly_the_tools_that_it_may_call() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    with_notes(&Agent::new(&node, ACME), 3).await;
    let all: BTreeSet<&str> = READS.into_iter().chain(WRITES).chain(ADMINS).collect();
    let reads: BTreeSet<&str> = READS.into_iter().collect();
    let data_tools: BTreeSet<&str> = READS.into_iter().chain(WRITES).collect();
    for (key, may) in [
        (Key::ReadOnly(0), &reads),
        (Key::ReadWrite(0), &data_tools),
        (Key::Mcp(0), &data_tools),
        (ACME, &all),
    ] {
        let agent = Agent::new(&node, key);
        let shown = agent.tools().await;
        let names: BTreeSet<&str> = shown.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(&names, may, "{key:?}");
        for tool in &all {
            if may.contains(tool) {
                if *tool != "delete_collection" {
                    agent.call(tool, arguments(tool)).await;
                }
            } else {
                assert_eq!(
                    agent.refused(tool, arguments(tool)).await,
                    "insufficient-permission",
                    "{key:?} {tool}"
                );
            }
        }
        if may.contains("create_collection") {
            agent.call("delete_collection", json!({"collection": "other"})).await;
        }
    }
    // Every tool says what it does, to whom, and what it answers.
    for tool in Agent::new(&node, ACME).tools().await {
        let name = tool["name"].as_str().unwrap();
        assert!(tool["description"].as_str().unwrap().len() > 50, "{name}");
        assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
        let hints = &tool["annotations"];
        assert_eq!(hints["readOnlyHint"], READS.contains(&name) || name == "recent_log", "{name}");
        assert_eq!(
            hints["destructiveHint"],
            ["upsert", "delete", "delete_collection"].contains(&name),
            "{name}"
        );
        assert_eq!(hints["idempotentHint"], name != "create_collection", "{name}");
        assert_eq!(hints["openWorldHint"], false, "{name}");
    }
    // The operator has no tenant, and so no tools.
    let operator = Agent::new(&node, Key::Operator).say("tools/list", json!({})).await;
    assert_eq!((operator.status.as_u16(), operator.problem()), (403, "insufficient-permission"));
    // What was refused is in the tenant's own log.
    node.client(ACME).log("").await.iter().find(|line| line["event"]["type"] == "access_denied").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tool_reaches_another_tenant_whatever_it_is_given() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (acme, globex) = (Agent::new(&node, ACME), Agent::new(&node, GLOBEX));
    with_notes(&acme, 30).await;
    let seq = node.client(ACME).head().await["seq"].clone();
    let cursor =
        acme.call("search", json!({"collection": "notes", "text": "crown"})).await["next_cursor"].clone();
    let log_cursor = acme.call("recent_log", json!({"limit": 1})).await["next_cursor"].clone();
    for tool in ["describe_collection", "delete_collection", "count", "upsert", "get", "delete", "search"] {
        let mut arguments = arguments(tool);
        assert_eq!(globex.refused(tool, arguments.clone()).await, "no-such-collection", "{tool}");
        for name in
            ["../acme/notes", "acme/notes", "notes/../notes", "%2e%2e/acme", "..", "notes?tenant=acme"]
        {
            arguments["collection"] = json!(name);
            let problem = globex.refused(tool, arguments.clone()).await;
            assert!(
                ["no-such-collection", "invalid-name", "invalid-argument"].contains(&problem.as_str()),
                "{tool} {name}: {problem}"
            );
        }
        arguments["collection"] = json!("notes");
        arguments["tenant"] = json!("acme");
        let problem = globex.refused(tool, arguments).await;
        assert!(
            ["no-such-collection", "invalid-argument", "invalid-body"].contains(&problem.as_str()),
            "{tool}: {problem}"
        );
    }
    assert_eq!(globex.call("list_collections", json!({})).await["collections"], json!([]));
    assert_eq!(globex.call("usage", json!({})).await["usage"]["vectors"], 0);
    assert_eq!(globex.refused("usage", json!({"tenant": "acme"})).await, "invalid-argument");
    // A cursor is a place in one's own, and leads nowhere else.
    let cursors = json!({"collection": "notes", "text": "crown", "cursor": cursor});
    assert_eq!(globex.refused("search", cursors).await, "no-such-collection");
    assert_eq!(globex.refused("recent_log", json!({"cursor": log_cursor})).await, "invalid-cursor");
    let log = globex.call("recent_log", json!({})).await;
    assert!(!log.to_string().contains("notes"), "{log}");
    assert_eq!(node.client(ACME).head().await["seq"], seq, "acme's log has a new record");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_are_cut_and_go_on_where_they_were() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    with_notes(&agent, 25).await;
    // Each a third of what is answered at once.
    let records: Vec<Value> =
        (0..4).map(|number| json!({"id": format!("long{number}"), "text": format!("elephant {}", "x".repeat(20_000))})).collect();
    agent.call("upsert", json!({"collection": "notes", "records": records})).await;
    let all = async |tool: &str, arguments: Value, list: &str| {
        let (mut items, mut calls, mut cursor) = (Vec::new(), 0, Value::Null);
        loop {
            let mut arguments = arguments.clone();
            arguments["cursor"] = cursor;
            let answer = agent.call(tool, arguments).await;
            items.extend(answer[list].as_array().unwrap().iter().cloned());
            cursor = answer["next_cursor"].clone();
            calls += 1;
            if cursor.is_null() {
                return (items, calls);
            }
            assert!(calls < 100, "{tool} never ends");
        }
    };
    let ids = |items: &[Value]| {
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (found, calls) =
        all("search", json!({"collection": "notes", "text": "crown", "limit": 7}), "results").await;
    let at_once = agent.call("search", json!({"collection": "notes", "text": "crown", "limit": 100})).await;
    assert_eq!((ids(&found), calls), (ids(at_once["results"].as_array().unwrap()), 4));
    let (found, calls) = all("search", json!({"collection": "notes", "text": "elephant"}), "results").await;
    assert_eq!((found.len(), calls), (4, 2));
    let wanted = json!({"collection": "notes", "ids": ["long3", "n001", "long1", "long0", "long2"]});
    let (got, calls) = all("get", wanted.clone(), "records").await;
    assert_eq!((json!(ids(&got)), calls), (wanted["ids"].clone(), 2));
    let (log, _) = all("recent_log", json!({"limit": 1}), "records").await;
    assert_eq!(log.iter().map(|record| record["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 2, 1]);
    for number in 0..5 {
        agent.call("create_collection", json!({"collection": format!("c{number}"), "text": true})).await;
    }
    let (collections, calls) = all("list_collections", json!({"limit": 4}), "collections").await;
    assert_eq!((collections.len(), calls), (6, 2));
}

/// All results of a search, page by page; how many pages there were, and their notes.
async fn paged(agent: &Agent, arguments: &Value) -> (Vec<(String, f64)>, usize, Vec<String>) {
    let (mut results, mut pages, mut notes, mut cursor) = (Vec::new(), 0, Vec::new(), Value::Null);
    loop {
        let mut arguments = arguments.clone();
        arguments["cursor"] = cursor;
        let page = agent.call("search", arguments).await;
        results.extend(page["results"].as_array().unwrap().iter().map(scored));
        notes.extend(page["note"].as_str().map(str::to_owned));
        cursor = page["next_cursor"].clone();
        pages += 1;
        if cursor.is_null() {
            return (results, pages, notes);
        }
        assert!(pages < 200, "it never ends");
    }
}

fn scored(hit: &Value) -> (String, f64) {
    (hit["id"].as_str().unwrap().to_owned(), hit["score"].as_f64().unwrap())
}

/// Numbers that look random and are the same every time.
fn numbers(seed: usize, count: usize) -> Vec<f64> {
    let mut state = seed as u64 * 2 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        #[expect(clippy::cast_precision_loss, reason = "any number will do")]
        let number = ((state >> 33) % 2_000) as f64 / 1_000.0 - 1.0;
        number
    };
    (0..count).map(|_| next()).collect()
}

fn random_texts(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| {
            let words: Vec<String> = numbers(number, 12)
                .into_iter()
                .map(|word| format!("w{}", (word * 20.0).abs().round()))
                .collect();
            json!({"id": format!("d{number:05}"), "vector": numbers(number + 7, 8), "text": words.join(" ")})
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_search_are_one_ranking_whatever_it_ranks_by() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (agent, client) = (Agent::new(&node, ACME), node.client(ACME));
    let made = json!({"collection": "notes", "dimension": 8, "metric": "cosine", "text": true});
    agent.call("create_collection", made).await;
    let texts = random_texts(1_500);
    for texts in texts.chunks(500) {
        client.put("/collections/notes/vectors", &json!({"vectors": texts})).await.expect(200);
    }
    let (vector, text) = (json!(numbers(99, 8)), json!("w3 w17 w8"));
    for question in
        [json!({"vector": vector}), json!({"text": text}), json!({"vector": vector, "text": text})]
    {
        let mut rest = question.clone();
        rest["limit"] = json!(1_000);
        let rest = client.post("/collections/notes/search", &rest).await.expect(200);
        let rest: Vec<(String, f64)> = rest["results"].as_array().unwrap().iter().map(scored).collect();
        let mut arguments = question.clone();
        arguments["collection"] = json!("notes");
        for limit in [37, 100] {
            arguments["limit"] = json!(limit);
            let (results, _, notes) = paged(&agent, &arguments).await;
            assert_eq!(results, rest, "{question}");
            // What ends only because it is long says so.
            assert_eq!(notes.len(), usize::from(results.len() == 1_000), "{notes:?}");
            assert!(notes.iter().all(|note| note.contains("1000")), "{notes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_search_are_one_ranking_while_vectors_are_linked() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (agent, client) = (Agent::new(&node, ACME), node.client(ACME));
    client.create("vectors", 16, "euclidean").await;
    for batch in 0..12 {
        let vectors: Vec<Value> = (batch * 1_000..(batch + 1) * 1_000)
            .map(|number| json!({"id": format!("v{number}"), "vector": numbers(number, 16)}))
            .collect();
        client.put("/collections/vectors/vectors", &json!({"vectors": vectors})).await.expect(200);
    }
    // From the first moment on until all is linked, and once more then.
    let (mut rounds, mut linked) = (0, false);
    while !linked {
        linked = client.get("/collections/vectors").await.expect(200)["index"]["state"] == "linked";
        let question = json!({"collection": "vectors", "vector": numbers(70_000 + rounds, 16), "limit": 50});
        let (results, pages, notes) = paged(&agent, &question).await;
        let ids: BTreeSet<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
        // The search behind the first page looks deeper than the first page; so it may find a few that the first
        // missed.
        assert_eq!((results.len(), pages), (ids.len(), results.len().div_ceil(50)), "round {rounds}");
        assert!((1_000..1_010).contains(&results.len()), "round {rounds}: {}", results.len());
        let (first, behind) = results.split_at(51);
        for part in [first, behind] {
            assert!(part.is_sorted_by(|one, next| one.1 <= next.1), "round {rounds}");
        }
        let late = behind.iter().filter(|result| result.1 < first[50].1).count();
        let told = notes.iter().any(|note| note.contains("rank before the end of the first page"));
        assert_eq!(told, late > 0, "round {rounds}: {late} late, {notes:?}");
        rounds += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_goes_on_through_its_ranking_and_says_that_the_collection_has_changed() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    with_notes(&agent, 25).await;
    let question = json!({"collection": "notes", "text": "crown", "limit": 10});
    let whole = paged(&agent, &question).await.0;
    let next = async |cursor: &Value| {
        let mut question = question.clone();
        question["cursor"] = cursor.clone();
        question
    };
    let first = agent.call("search", question.clone()).await;
    let cursor = first["next_cursor"].clone();
    // What is no change of this collection makes no difference, nor does a word in the log.
    agent.call("create_collection", json!({"collection": "other", "text": true})).await;
    Agent::new(&node, Key::ReadOnly(0)).refused("delete_collection", json!({"collection": "notes"})).await;
    let second = agent.call("search", next(&cursor).await).await;
    assert_eq!(second["note"], Value::Null);
    // One is deleted, one is written again, a new one would be the best of all.
    let page: Vec<String> = second["results"].as_array().unwrap().iter().map(|hit| scored(hit).0).collect();
    agent.call("delete", json!({"collection": "notes", "ids": [page[0]]})).await;
    let records = json!([{"id": page[1], "text": "another crown"}, {"id": "new", "text": "crown"}]);
    agent.call("upsert", json!({"collection": "notes", "records": records})).await;
    let again = agent.call("search", next(&cursor).await).await;
    let shown: Vec<String> = again["results"].as_array().unwrap().iter().map(|hit| scored(hit).0).collect();
    assert_eq!(shown, page[1..]);
    assert_eq!(again["results"][0]["text"], "another crown");
    assert!(again["note"].as_str().unwrap().contains("1 deleted"), "{again}");
    let third = agent.call("search", next(&again["next_cursor"]).await).await;
    let rest: Vec<_> = third["results"].as_array().unwrap().iter().map(|hit| scored(hit).0).collect();
    assert_eq!(rest, whole[20..].iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
    // With other arguments, for another tool, or changed, it is none.
    let mut other = next(&cursor).await;
    other["text"] = json!("note");
    assert_eq!(agent.refused("search", other).await, "invalid-cursor");
    let get = json!({"collection": "notes", "ids": ["n001"], "cursor": cursor});
    assert_eq!(agent.refused("get", get).await, "invalid-cursor");
    let text = cursor.as_str().unwrap();
    let changed = format!("{}{}", &text[..text.len() - 2], if text.ends_with("AA") { "BB" } else { "AA" });
    assert_eq!(agent.refused("search", next(&json!(changed)).await).await, "invalid-cursor");
    // However the same arguments are written.
    let written = format!(
        r#"{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {{"name": "search", "arguments":
        {{"text": "cr\u006fwn", "limit" :10, "cursor": {cursor}, "with_text": null, "collection": "notes"}}}}}}"#
    );
    let answer = agent.client.send(agent.written(&written)).await.expect(200);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_outlives_the_server_unless_the_collection_has_changed() {
    let data = TempDir::new().unwrap();
    let question = json!({"collection": "notes", "text": "crown", "limit": 10});
    let (mut cursor, mut whole) = (Value::Null, Vec::new());
    for life in 0..2 {
        let node = Node::dev(data.path());
        let agent = Agent::new(&node, ACME);
        if life == 0 {
            with_notes(&agent, 25).await;
            whole = paged(&agent, &question).await.0;
            cursor = agent.call("search", question.clone()).await["next_cursor"].clone();
            continue;
        }
        let mut next = question.clone();
        next["cursor"] = cursor.clone();
        let page = agent.call("search", next.clone()).await;
        let page: Vec<_> = page["results"].as_array().unwrap().iter().map(scored).collect();
        assert_eq!(page, whole[10..20]);
    }
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    agent.call("delete", json!({"collection": "notes", "ids": ["n000"]})).await;
    let mut next = question;
    next["cursor"] = cursor;
    assert_eq!(agent.refused("search", next).await, "ranking-gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_larger_than_an_answer_is_cut_with_a_word_and_can_be_had_in_parts() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    with_notes(&agent, 3).await;
    let huge = json!({
        "id": "huge", "text": format!("elephant \"ü\" {}", "lorem ipsüm \u{1}".repeat(3_000)), "payload": {"pad": "y\\".repeat(20_000)}
    });
    let records = json!([huge, {"id": "small", "text": "elephant"}]);
    agent.call("upsert", json!({"collection": "notes", "records": records})).await;
    let found = agent.say(
        "tools/call",
        json!({"name": "search", "arguments": {"collection": "notes", "text": "elephant"}}),
    );
    let found = found.await.expect(200);
    assert!(found.to_string().len() < 80_000, "{}", found.to_string().len());
    let results = found["result"]["structuredContent"]["results"].as_array().unwrap();
    let shown = results.iter().find(|hit| hit["id"] == "huge").unwrap();
    assert!(shown["text"].as_str().unwrap().starts_with("elephant \"ü\" lorem"), "{shown}");
    assert!(shown["cut"].as_str().unwrap().contains("Call get"), "{shown}");
    assert_eq!(results.len(), 2);
    // Piece by piece it is the whole record, and what comes behind it follows.
    let mut get = json!({"collection": "notes", "ids": ["n000", "huge", "small"]});
    let (mut json, mut ids) = (String::new(), Vec::new());
    loop {
        let page = agent.call("get", get.clone()).await;
        assert!(page.to_string().len() < 128_000);
        for record in page["records"].as_array().unwrap() {
            match record["part"].as_str() {
                Some(part) => {
                    assert_eq!(record["from"], json.len());
                    json.push_str(part);
                }
                None => ids.push(record["id"].clone()),
            }
        }
        get["cursor"] = page["next_cursor"].clone();
        if get["cursor"].is_null() {
            break;
        }
    }
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), huge);
    assert_eq!(json!(ids), json!(["n000", "small"]));
    // Parts of two records are never taken for one.
    let first = agent.call("get", json!({"collection": "notes", "ids": ["huge"]})).await;
    agent.call("upsert", json!({"collection": "notes", "records": [{"id": "huge", "text": "small"}]})).await;
    let rest = json!({"collection": "notes", "ids": ["huge"], "cursor": first["next_cursor"]});
    assert_eq!(agent.refused("get", rest).await, "record-changed");
    // In the log, too.
    let ids: Vec<String> = (0..9_000).map(|number| format!("{number:010}")).collect();
    let records: Vec<Value> = ids.iter().map(|id| json!({"id": id, "text": "t"})).collect();
    node.client(ACME).put("/collections/notes/vectors", &json!({"vectors": records})).await.expect(200);
    agent.call("delete", json!({"collection": "notes", "ids": ids})).await;
    let log = agent.call("recent_log", json!({"limit": 3})).await;
    assert_eq!(log["records"].as_array().unwrap().len(), 3);
    assert_eq!(log["records"][0]["event"], json!({"type": "vectors_deleted"}));
    assert!(log["records"][0]["cut"].as_str().unwrap().contains("/api/v1/log?from="), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_have_the_same_names_in_all_tools_and_other_names_are_answered_with_the_right_one() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    with_notes(&agent, 3).await;
    let names = [
        "all",
        "collection",
        "cursor",
        "dimension",
        "exact",
        "filter",
        "ids",
        "idempotency_key",
        "limit",
        "metric",
        "rank_by",
        "records",
        "score_threshold",
        "text",
        "vector",
        "with_payload",
        "with_text",
        "with_vector",
    ];
    for tool in agent.tools().await {
        for (name, schema) in tool["inputSchema"]["properties"].as_object().unwrap() {
            assert!(names.contains(&name.as_str()), "{}: {name}: {schema}", tool["name"]);
        }
    }
    for (tool, mut arguments, other, meant) in [
        ("create_collection", json!({"text": true}), "name", "collection"),
        ("search", json!({"text": "crown"}), "name", "collection"),
        ("search", json!({"collection": "notes"}), "query", "text"),
        ("search", json!({"collection": "notes", "text": "crown"}), "top_k", "limit"),
        ("search", json!({"collection": "notes", "text": "crown"}), "offset", "cursor"),
        ("count", json!({"collection": "notes"}), "where", "filter"),
        ("get", json!({"collection": "notes"}), "id", "ids"),
        ("delete", json!({"collection": "notes"}), "id", "ids"),
        ("upsert", json!({"collection": "notes"}), "vectors", "records"),
    ] {
        arguments[other] = json!("notes");
        assert_eq!(agent.refused(tool, arguments.clone()).await, "invalid-argument", "{tool} {arguments}");
        let told = agent.result(tool, arguments).await["structuredContent"]["detail"].clone();
        let told = told.as_str().unwrap();
        assert!(told.contains(&format!("{other:?}")) && told.contains(&format!("{meant:?}")), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_the_cause_of_an_error_and_nothing_is_done() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    with_notes(&agent, 1).await;
    let seq = node.client(ACME).data_seq().await;
    for (tool, arguments, problem) in [
        ("search", json!({"text": "crown"}), "invalid-argument"),
        ("search", json!({"collection": 7, "text": "crown"}), "invalid-argument"),
        ("search", json!({"collection": "notes"}), "nothing-sought"),
        ("search", json!({"collection": "notes", "text": "crown", "limit": 0}), "invalid-argument"),
        ("search", json!({"collection": "notes", "text": "crown", "limit": 101}), "invalid-argument"),
        ("search", json!({"collection": "notes", "text": "crown", "cursor": "!"}), "invalid-cursor"),
        ("search", json!({"collection": "notes", "text": "crown", "nonsense": 1}), "invalid-body"),
        ("search", json!({"collection": "notes", "text": "crown", "filter": {"must": 7}}), "invalid-filter"),
        ("search", json!({"collection": "nowhere", "text": "crown"}), "no-such-collection"),
        ("upsert", json!({"collection": "notes"}), "invalid-argument"),
        ("upsert", json!({"collection": "notes", "records": []}), "no-vectors"),
        ("upsert", json!({"collection": "notes", "records": [{"id": "a"}]}), "text-missing"),
        (
            "upsert",
            json!({"collection": "notes", "records": [{"id": "a", "text": "b", "vector": [1]}]}),
            "vector-unexpected",
        ),
        (
            "upsert",
            json!({"collection": "notes", "records": [{"id": "a", "text": "b"}, {"id": "a", "text": "c"}]}),
            "repeated-id",
        ),
        ("delete", json!({"collection": "notes"}), "invalid-selection"),
        ("get", json!({"collection": "notes", "ids": []}), "invalid-argument"),
        ("create_collection", json!({"collection": "notes", "text": true}), "collection-exists"),
        ("create_collection", json!({"collection": "a/b", "text": true}), "invalid-name"),
        ("create_collection", json!({"collection": "bare"}), "invalid-body"),
        ("count", json!({"collection": "notes", "idempotency_key": "a"}), "invalid-body"),
        (
            "upsert",
            json!({"collection": "notes", "records": [{"id": "a", "text": "b"}], "idempotency_key": "\n"}),
            "invalid-argument",
        ),
    ] {
        assert_eq!(agent.refused(tool, arguments.clone()).await, problem, "{tool} {arguments}");
    }
    // In the words of the tool, not of REST.
    let wrong =
        json!({"collection": "notes", "records": [{"id": "a", "text": "b"}, {"id": "", "text": "b"}]});
    let told = agent.result("upsert", wrong).await["structuredContent"]["detail"].clone();
    assert!(told.as_str().unwrap().starts_with("records[1]"), "{told}");
    assert_eq!(node.client(ACME).data_seq().await, seq);
    let unknown =
        agent.say("tools/call", json!({"name": "drop_everything", "arguments": {}})).await.expect(200);
    assert_eq!(unknown["error"]["code"], -32602);
    let unknown = agent.say("cluster/tenants", json!({})).await;
    assert_eq!(unknown.body["error"]["code"], -32601, "{}", unknown.body);

    // Done once, whatever is repeated.
    let write =
        json!({"collection": "notes", "records": [{"id": "once", "text": "one"}], "idempotency_key": "k1"});
    let first = agent.call("upsert", write.clone()).await;
    assert_eq!(agent.call("upsert", write).await, first);
    let other =
        json!({"collection": "notes", "records": [{"id": "once", "text": "two"}], "idempotency_key": "k1"});
    assert_eq!(agent.refused("upsert", other).await, "idempotency-key-reused");
    // However it is written: agents do not say the same in the same letters.
    let delete = json!({"collection": "notes", "ids": ["once"], "idempotency_key": "k2"});
    let first = agent.call("delete", delete).await;
    assert_eq!(first["deleted"], 1);
    let otherwise = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "delete", "arguments":
        {"ids": [ "onc\u0065" ], "idempotency_key": "k2", "collection": "notes"}}}"#;
    let answer = agent.client.send(agent.written(otherwise)).await.expect(200);
    assert_eq!(answer["result"]["structuredContent"], first, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_kept_as_it_was_sent() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    agent.call("create_collection", json!({"collection": "notes", "text": true})).await;
    let numbers = "[9007199254740993,18446744073709551617,0.1000000000000000055,1.10,42.0,-0.0,1e-7,8.41e21]";
    let message = |id: &str, numbers: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"upsert","arguments":{{"collection":"notes",
            "records":[{{"id":"{id}","text":"a","payload":{{"z":{numbers},"a":1}}}}],"idempotency_key":"{id}"}}}}}}"#
        )
    };
    // Read here, and by rmcp.
    for (id, content_type) in [("short", "application/json"), ("long", "application/json; charset=utf-8")] {
        let send = async |numbers: &str| {
            let request = agent.client.request_at(Method::POST, "/mcp").bearer_auth(node.key(ACME));
            let request = request.header("accept", "application/json, text/event-stream");
            let request = request.header("content-type", content_type).body(message(id, numbers));
            agent.client.send(request).await.expect(200)["result"].clone()
        };
        let first = send(numbers).await;
        assert_eq!(first["structuredContent"]["upserted"], 1, "{first}");
        let request = node.client(ACME).request(Method::GET, &format!("/collections/notes/vectors/{id}"));
        let kept = request.send().await.unwrap().text().await.unwrap();
        assert!(kept.contains(&format!(r#""z":{numbers}"#)), "{kept}");
        assert_eq!(send(numbers).await, first);
        let other = send(&numbers.replace("9007199254740993", "9007199254740992")).await;
        assert_eq!(other["structuredContent"]["problem"], "idempotency-key-reused", "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_and_too_large_messages_are_refused() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    let send = async |body: String| {
        let request = agent.client.request_at(Method::POST, "/mcp").bearer_auth(node.key(ACME));
        let request = request.header("accept", "application/json, text/event-stream");
        agent.client.send(request.header("content-type", "application/json").body(body)).await
    };
    for body in ["", "{", "[]", "7", "{\"jsonrpc\": \"2.0\"}"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))])
    {
        let answer = send(body.clone()).await;
        assert!(
            (400..500).contains(&answer.status.as_u16()),
            "{}: {}",
            &body[..body.len().min(20)],
            answer.status
        );
    }
    let large = send(format!(
        "{{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"{}\"}}",
        "x".repeat(MESSAGE_BYTES_MAX)
    ))
    .await;
    assert_eq!((large.status.as_u16(), large.problem()), (413, "body-too-large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_alike_on_the_short_way_and_on_the_long_one() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    with_notes(&agent, 3).await;
    let send = async |version: Option<&str>, params: &Value, named: &str| {
        let message = json!({"jsonrpc": "2.0", "id": "one", "method": "tools/call", "params": params});
        let mut request =
            agent.request(&message).header("mcp-method", "tools/call").header("mcp-name", named);
        if let Some(version) = version {
            request = request.header("mcp-protocol-version", version);
        }
        agent.client.send(request).await
    };
    // What is kept as it was written, with all that JSON allows, is passed on and stands in the message as JSON.
    let odd = r#"{"vectors": [{"id": "odd \"n\"", "text": "crown \\ \u00fc", "payload": {"z" :
        1.50e0, "a":[null]}}]}"#;
    let put = node.client(ACME).request(Method::PUT, "/collections/notes/vectors").body(odd);
    node.client(ACME).send(put.header("content-type", "application/json")).await.expect(200);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    for version in [None, Some("2025-03-26"), Some("2025-06-18"), Some("2025-11-25"), Some("2026-07-28")] {
        for (name, arguments) in [
            ("search", arguments("search")),
            ("search", json!({"collection": "nowhere", "text": "crown"})),
            ("search", json!({})),
            ("list_collections", Value::Null),
            ("get", json!({"collection": "notes", "ids": ["odd \"n\"", "nobody"]})),
            ("count", json!({"collection": "notes", "filter": null})),
            ("no_tool", json!({})),
        ] {
            let mut params = json!({"name": name, "arguments": arguments});
            if version == Some("2026-07-28") {
                params["_meta"] = meta.clone();
            }
            let short = send(version, &params, name).await;
            // What no client says sends it the long way, where it is passed over.
            params["of_no_meaning"] = json!(1);
            let long = send(version, &params, name).await;
            assert_eq!(short.status, long.status, "{version:?} {params}");
            assert_eq!(short.body, long.body, "{version:?} {params}");
            assert_eq!(short.headers["content-type"], long.headers["content-type"]);
        }
    }
    // What does not agree with itself is no call, whichever tool it names.
    let without = json!({"name": "usage", "arguments": {}});
    let mut with = without.clone();
    with["_meta"] = meta;
    let mut incapable = with.clone();
    incapable["_meta"]["io.modelcontextprotocol/clientCapabilities"].take();
    for (version, params, named) in [
        (Some("2026-07-28"), &with, "search"),
        (Some("2026-07-28"), &without, "usage"),
        (Some("2026-07-28"), &incapable, "usage"),
        (Some("2025-11-25"), &with, "usage"),
        (Some("2027-01-01"), &without, "usage"),
        (None, &with, "usage"),
    ] {
        assert_eq!(send(version, params, named).await.status, 400, "{version:?} {params} {named}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_payloads_are_stored_as_they_were_sent() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    agent.call("create_collection", json!({"collection": "numbers", "dimension": 1, "metric": "dot"})).await;
    let numbers = "[1.10,1e2,-0.0,9007199254740993,0.1000000000000000055511151231257827,123456789012345678901234567890]";
    for (number, (key, meaningless)) in
        [("", ""), (r#","idempotency_key":"k""#, ""), ("", r#","of_no_meaning":1"#)].into_iter().enumerate()
    {
        let id = format!("n{number}");
        let records = format!(r#"[{{"id":"{id}","vector":[1],"payload":{{"n":{numbers}}}}}]"#);
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"upsert","arguments":{{"collection":"numbers","records":{records}{key}}}{meaningless}}}}}"#
        );
        for _ in 0..2 {
            let answer = agent.client.send(agent.written(&message)).await.expect(200);
            assert_eq!(answer["result"]["structuredContent"]["upserted"], 1, "{answer}");
        }
        let path = format!("/api/v1/collections/numbers/vectors/{id}");
        let request = agent.client.request_at(Method::GET, &path).bearer_auth(node.key(ACME));
        let stored = request.send().await.unwrap().text().await.unwrap();
        assert!(stored.contains(&format!(r#"{{"n":{numbers}}}"#)), "{stored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_write_under_one_key_is_done_once_however_it_is_written() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    agent.call("create_collection", json!({"collection": "words", "dimension": 1, "metric": "dot"})).await;
    let call = async |arguments: &str| {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"upsert","arguments":{{{arguments}}}}}}}"#
        );
        agent.client.send(agent.written(&message)).await.expect(200)["result"]["structuredContent"].clone()
    };
    let first = call(
        r#""collection":"words","idempotency_key":"k","records":[{"id":"é","vector":[1],"payload":{"a":1,"b":[2]}}]"#,
    );
    let first = first.await;
    let again = call(
        r#""records": [ {"payload": {"b":[ 2 ],"a":1}, "vector":[1], "id":"\u00e9"} ], "idempotency_key":"k","collection":"words""#,
    );
    assert_eq!(again.await, first);
    let other = call(
        r#""collection":"words","idempotency_key":"k","records":[{"id":"é","vector":[1],"payload":{"a":2,"b":[2]}}]"#,
    );
    assert_eq!(other.await["problem"], "idempotency-key-reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_opens_a_session_or_a_stream_that_would_outlive_its_key() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let agent = Agent::new(&node, ACME);
    with_notes(&agent, 3).await;
    let version = "2026-07-28";
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": 1
    });
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let listen = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
    let search = json!({"name": "search", "arguments": arguments("search"), "_meta": meta});
    for (method, params, version, name, status) in [
        ("initialize", hello, "2025-11-25", None, 200),
        ("tools/list", json!({}), "2025-11-25", None, 200),
        ("tools/list", json!({"_meta": meta}), version, None, 200),
        ("tools/call", search, version, Some("search"), 200),
        ("subscriptions/listen", listen, version, None, 404),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = agent.request(&message).header("mcp-protocol-version", version);
        request = request.header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        let answer = agent.client.send(request).await;
        assert_eq!(answer.status, status, "{method}: {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/json", "{method}");
        assert!(!answer.headers.contains_key("mcp-session-id"), "{method}");
        assert_eq!(answer.body["id"], 1, "{method}");
    }
    // What a client of sessions would do next.
    for method in [Method::GET, Method::DELETE] {
        let request = agent.client.request_at(method, "/mcp").bearer_auth(node.key(ACME));
        let request = request.header("accept", "text/event-stream").header("mcp-session-id", "a");
        let answer = agent.client.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (405, "method-not-allowed"));
        assert_eq!(answer.headers["allow"], "POST");
    }
    // The name of a session is no right, and keeps none of it.
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_collections", "arguments": {}}
    });
    for (key, seen) in [(ACME, 1), (GLOBEX, 0)] {
        let request = Agent::new(&node, key).request(&message).header("mcp-session-id", "a");
        let answer = agent.client.send(request).await.expect(200);
        let collections = answer["result"]["structuredContent"]["collections"].as_array().unwrap();
        assert_eq!(collections.len(), seen, "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_carries_its_own_key_and_a_revoked_one_is_refused_within_a_second() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    cluster.tenant("acme");
    let key = cluster.key(Some("acme"), None);
    let mut agent = Agent { client: cluster.node.keyless(), key: None };
    let refused = agent.say("tools/list", json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (401, "no-key"));
    assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    agent.key = Some(key.expose().to_owned());
    assert_eq!(agent.tools().await.len(), 11);
    // What a session would be is no right: the name of one makes no difference.
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let stolen = Agent { client: cluster.node.keyless(), key: None };
    let request = stolen.request(&message).header("mcp-session-id", "01a21a64-75a6-730a-b13d-1e98881771b7");
    assert_eq!(stolen.client.send(request).await.status, 401);

    cluster.hub.revoke_key(&key.id()).unwrap();
    within_a_second(async || agent.say("tools/list", json!({})).await.status == 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_hosts_that_are_not_known_are_refused() {
    let data = TempDir::new().unwrap();
    let node = Node::start(
        "dev",
        data.path(),
        &["--hub-listen", "127.0.0.1:0", "--allowed-hosts", "db.example.org"],
    );
    let agent = Agent::new(&node, ACME);
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let status = async |name: &str, value: &str| {
        let answer = agent.client.send(agent.request(&message).header(name, value)).await;
        answer.status.as_u16()
    };
    for (origin, expected) in [
        ("http://localhost:6274", 200),
        ("https://db.example.org", 200),
        ("http://evil.example.com", 403),
        ("null", 403),
        ("https://db.example.org.evil.com", 403),
        ("https://evil.com/db.example.org", 403),
        ("https://db.example.org@evil.com", 403),
        ("file://localhost", 403),
        ("", 403),
    ] {
        assert_eq!(status("origin", origin).await, expected, "{origin:?}");
    }
    for (host, expected) in [("db.example.org", 200), ("localhost:1", 200), ("evil.example.com", 403)] {
        assert_eq!(status("host", host).await, expected, "{host:?}");
    }
}
