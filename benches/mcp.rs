//! An agent's search against the same search over REST.
//!
//! Starts a node with keys in a temporary folder and speaks HTTP to it, over one connection that is kept for each side;
//! the sides take turns. An answer of MCP says everything twice, as text and as structure, as the specification asks.
//!
//! ```text
//! cargo build --release && cargo bench --bench mcp
//! ```

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
#[expect(dead_code, reason = "the other measurements use more of it")]
mod cluster;
#[expect(dead_code, reason = "the other measurements use more of it")]
mod support;

use std::time::Instant;

use client::{Client, Server};
use cluster::{Cluster, GENEROUS};
use serde_json::{Value, json};
use support::workload::Workload;
use support::{Outcome, in_turn, print_table};

const ROUNDS: usize = 15;
const SEARCHES: usize = 400;
const RECORDS_PER_WRITE: usize = 500;
/// The specification there is, and the last one before it.
const VERSIONS: [&str; 2] = ["2026-07-28", "2025-11-25"];

fn main() -> Outcome<()> {
    let cluster = Cluster::new(1, GENEROUS)?;
    let key = cluster.keys[0].expose();
    let server = cluster.node(&[])?;
    let mut rows = Vec::new();
    for (what, name, searches) in [
        ("100 vectors of 8 numbers", "small", vectors(&mut server.client(key)?, "small", 100, 8)?),
        ("10,000 vectors of 384 numbers", "large", vectors(&mut server.client(key)?, "large", 10_000, 384)?),
        ("1,000 texts", "texts", texts(&mut server.client(key)?)?),
    ] {
        rows.push(measure(&server, key, what, name, &searches)?);
    }
    print_table(
        ["collection", "REST, us", "MCP, us", "MCP / REST", "MCP before, us", "MCP before / REST"],
        &rows,
    );
    Ok(())
}

/// What a search takes at the median over REST and over MCP.
fn measure(server: &Server, key: &str, what: &str, name: &str, searches: &[Value]) -> Outcome<[String; 6]> {
    let path = format!("/api/v1/collections/{name}/search");
    let rest: Vec<String> = searches.iter().map(Value::to_string).collect();
    let [newest, before] = VERSIONS.map(|version| {
        (headers(version), searches.iter().map(|search| message(version, name, search)).collect::<Vec<_>>())
    });
    let mut client = server.client(key)?;
    for ((rest, newest_message), before_message) in rest.iter().zip(&newest.1).zip(&before.1).take(20) {
        let over_rest = answer(&mut client, &path, "", rest)?["results"].take();
        for (headers, message) in [(&newest.0, newest_message), (&before.0, before_message)] {
            let over_mcp = answer(&mut client, "/mcp", headers, message)?;
            if over_rest.as_array().is_none_or(Vec::is_empty)
                || over_mcp["result"]["structuredContent"]["results"] != over_rest
            {
                return Err(format!("over MCP: {over_mcp}, over REST: {over_rest}").into());
            }
        }
    }
    let (mut over_rest, mut over_newest, mut over_before) =
        (server.client(key)?, server.client(key)?, server.client(key)?);
    let [rest, newest, before] = in_turn(
        ROUNDS,
        [
            &mut || median(&mut over_rest, &path, "", &rest),
            &mut || median(&mut over_newest, "/mcp", &newest.0, &newest.1),
            &mut || median(&mut over_before, "/mcp", &before.0, &before.1),
        ],
    )?;
    Ok([
        what.to_owned(),
        format!("{:.0}", rest.times(1e6)),
        format!("{:.0}", newest.times(1e6)),
        format!("{:.2}", newest.over(&rest)),
        format!("{:.0}", before.times(1e6)),
        format!("{:.2}", before.over(&rest)),
    ])
}

/// The median of the seconds that each of these requests takes.
fn median(client: &mut Client, path: &str, headers: &str, bodies: &[String]) -> Outcome<f64> {
    let mut took = Vec::with_capacity(bodies.len());
    for body in bodies {
        let started = Instant::now();
        let status = client.send_at("POST", path, headers, body)?;
        took.push(started.elapsed().as_secs_f64());
        if status != 200 {
            return Err(format!("{path}: {status}").into());
        }
    }
    took.sort_unstable_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}

fn answer(client: &mut Client, path: &str, headers: &str, body: &str) -> Outcome<Value> {
    client.send_at("POST", path, headers, body)?;
    Ok(serde_json::from_slice(&client.body)?)
}

fn headers(version: &str) -> String {
    let names = if version == VERSIONS[0] { "Mcp-Method: tools/call\r\nMcp-Name: search\r\n" } else { "" };
    format!("MCP-Protocol-Version: {version}\r\nAccept: application/json, text/event-stream\r\n{names}")
}

/// The same search as an agent's call.
fn message(version: &str, collection: &str, search: &Value) -> String {
    let mut arguments = search.clone();
    arguments["collection"] = collection.into();
    let mut params = json!({"name": "search", "arguments": arguments});
    if version == VERSIONS[0] {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": {"name": "measurement", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}
        });
    }
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
}

/// A collection of vectors, once it is linked; what to look for in it.
fn vectors(client: &mut Client, name: &str, count: usize, dimension: usize) -> Outcome<Vec<Value>> {
    let collection = json!({"name": name, "dimension": dimension, "metric": "cosine"});
    client.call("POST", "/collections", &collection.to_string())?;
    let mut workload = Workload::new(dimension);
    let record = |number: usize, vector: Vec<f32>| json!({"id": format!("record-{number}"), "vector": vector, "payload": {"number": number}});
    write(client, name, count, |number| record(number, workload.vector()))?;
    while client.call("GET", &format!("/collections/{name}"), "")?["index"]["state"] == "linking" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok((0..SEARCHES).map(|_| json!({"vector": workload.vector()})).collect())
}

/// A collection of texts; what to look for in it.
fn texts(client: &mut Client) -> Outcome<Vec<Value>> {
    const WORDS: [&str; 16] = [
        "river",
        "glacier",
        "violin",
        "comet",
        "bridge",
        "octopus",
        "olive",
        "library",
        "salt",
        "lightning",
        "concrete",
        "coffee",
        "train",
        "shark",
        "crown",
        "bread",
    ];
    client.call("POST", "/collections", &json!({"name": "texts", "text": true}).to_string())?;
    let words = |number: usize, count: usize| {
        let words = (0..count).map(|place| WORDS[(number * (place + 3) + place * place) % WORDS.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    write(
        client,
        "texts",
        1_000,
        |number| json!({"id": format!("text-{number}"), "text": words(number, 12), "payload": {"number": number}}),
    )?;
    Ok((0..SEARCHES).map(|number| json!({"text": words(number * 7, 2)})).collect())
}

fn write(
    client: &mut Client,
    collection: &str,
    count: usize,
    mut record: impl FnMut(usize) -> Value,
) -> Outcome<()> {
    for first in (0..count).step_by(RECORDS_PER_WRITE) {
        let records: Vec<Value> = (first..count.min(first + RECORDS_PER_WRITE)).map(&mut record).collect();
        client.call(
            "PUT",
            &format!("/collections/{collection}/vectors"),
            &json!({"vectors": records}).to_string(),
        )?;
    }
    Ok(())
}
