//! Stopping loses nothing and ends. Followers of the log see it grow and see it end.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_testing::{PATIENCE, Stopwatch, Wait, eventually};

use crate::support::node::{ACME, Client, GLOBEX, Node};

/// How long requests under way may take to end when the server stops. They take milliseconds.
const GRACE: Duration = Duration::from_secs(30);

/// Writes one vector after the other until the server no longer answers; what was acknowledged.
async fn write_until_the_end(client: Client, writer: u32) -> Vec<(String, u64)> {
    let mut acknowledged = Vec::new();
    for number in 0_u32.. {
        let id = format!("{writer}-{number}");
        let body = json!({"vectors": [{"id": id, "vector": [number], "payload": {"by": writer}}]});
        let request = client.request(Method::PUT, "/collections/words/vectors").json(&body);
        let Ok(answer) = request.send().await else { break };
        if answer.status() == 503 {
            break;
        }
        assert_eq!(answer.status(), 200);
        let Ok(body) = answer.json::<Value>().await else { break };
        acknowledged.push((id, body["seq"].as_u64().unwrap()));
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_keeps_every_acknowledged_write_and_does_not_use_up_its_grace() {
    let data = TempDir::new().unwrap();
    for (round, signal) in ["TERM", "INT", "TERM"].into_iter().enumerate() {
        let node = Node::dev(data.path());
        let client = node.client(ACME);
        let before = if round == 0 {
            client.create("words", 1, "dot").await;
            1
        } else {
            client.post("/collections/words/vectors/delete", &json!({"all": true})).await.expect(200);
            client.head().await["seq"].as_u64().unwrap()
        };
        let writing: Vec<_> =
            (0..8).map(|writer| tokio::spawn(write_until_the_end(client.clone(), writer))).collect();
        // Under load: not before each of the writers has had some of its writes acknowledged.
        let is_written = async || client.head().await["seq"].as_u64().unwrap() >= before + 40;
        eventually("forty records are written", is_written).await;
        let asked = Stopwatch::start();
        node.signal(signal);
        assert!(tokio::task::spawn_blocking(|| node.ended()).await.unwrap(), "it did not end well");
        assert!(asked.elapsed() < GRACE / 3, "{:?}", asked.elapsed());
        let acknowledged: Vec<(String, u64)> =
            join_all(writing).await.into_iter().flat_map(Result::unwrap).collect();
        assert!(acknowledged.len() >= 32);

        let node = Node::dev(data.path());
        let client = node.client(ACME);
        let log = client.log("").await;
        let seqs: Vec<u64> = log.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>());
        for (id, seq) in &acknowledged {
            assert_eq!(log[usize::try_from(*seq).unwrap() - 1]["event"]["points"][0]["id"], *id);
        }
        let count = client.post("/collections/words/count", &json!({})).await.expect(200)["count"].clone();
        // A write may be done whose answer no longer reached its writer: one each at most.
        let lost = count.as_u64().unwrap() - acknowledged.len() as u64;
        assert!(lost <= 8, "{lost} writes were done and not answered");
        node.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_refuses_new_work_and_ends_endless_streams() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    let ready = |client: &Client| client.request_at(Method::GET, "/ready").send();
    assert_eq!(ready(&client).await.unwrap().status(), 200);
    client.create("words", 1, "dot").await;
    let mut following = Lines::follow(&client, "").await;
    assert_eq!(following.next().await.unwrap()["seq"], 1);
    let authority = node.authority().to_owned();

    let asked = Stopwatch::start();
    node.signal("TERM");
    // The stream ends by itself, properly; whatever is asked from then on is refused in one way or the other.
    assert_eq!(following.next().await, None);
    eventually("the server takes no connection any more", async || match ready(&client).await {
        Ok(answer) => {
            assert!([200, 503].contains(&answer.status().as_u16()), "{}", answer.status());
            false
        }
        // A connection kept from before is closed under the request.
        Err(error) => error.is_connect(),
    })
    .await;
    assert!(std::net::TcpStream::connect(&authority).is_err());
    assert!(tokio::task::spawn_blocking(|| node.ended()).await.unwrap());
    assert!(asked.elapsed() < GRACE / 3, "{:?}", asked.elapsed());
}

#[test]
fn a_stopping_server_first_reports_it_then_closes_its_listener_and_ends_requests_under_way() {
    let data = TempDir::new().unwrap();
    let flags = ["--hub-listen", "127.0.0.1:0", "--shutdown-delay", "3"];
    let node = Node::start("dev", data.path(), &flags);
    let key = node.key(ACME);
    let head = |method: &str, path: &str, length: usize| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let ready = || node.raw(head("GET", "/ready", 0).as_bytes());
    let create = |name: &str| json!({"name": name, "dimension": 1, "metric": "dot"}).to_string();
    assert_eq!(ready().status, 200);
    // Under way: the half of it is here.
    let body = create("slow");
    let mut slow = std::net::TcpStream::connect(node.authority()).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(head("POST", "/api/v1/collections", body.len()).as_bytes()).unwrap();
    slow.write_all(&body.as_bytes()[..10]).unwrap();

    let asked = Instant::now();
    node.signal("TERM");
    let refused =
        Wait::new("/ready refuses").value_blocking(|| Some(ready()).filter(|answer| answer.status != 200));
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "stopping"));
    assert!(refused.headers.contains_key("retry-after"));
    // Who has not looked yet is served, and the process lives.
    let body_of_late = create("late");
    let late = head("POST", "/api/v1/collections", body_of_late.len()) + &body_of_late;
    node.raw(late.as_bytes()).expect(201);
    node.raw(head("GET", "/health", 0).as_bytes()).expect(200);
    Wait::new("nothing listens any more")
        .until_blocking(|| std::net::TcpStream::connect(node.authority()).is_err());
    assert!(asked.elapsed() >= Duration::from_millis(2_900), "{:?}", asked.elapsed());
    slow.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(node.ended(), "it did not end well");
}

/// The lines of an answer that is still coming in.
struct Lines {
    answer: reqwest::Response,
    received: Vec<u8>,
}

impl Lines {
    async fn follow(client: &Client, query: &str) -> Self {
        let answer = client.request(Method::GET, &format!("/log?follow=true{query}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        Self { answer, received: Vec::new() }
    }

    /// The next line, or `None` where the answer ends as it should.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let more = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.unwrap().unwrap();
            let Some(bytes) = more else {
                assert_eq!(self.received, b"", "half a line");
                return None;
            };
            self.received.extend_from_slice(&bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_the_log_sees_each_record_once_as_it_is_written() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 1, "dot").await;
    let mut all = Lines::follow(&client, "").await;
    let mut later = Lines::follow(&client, "&from=3&limit=5&with_payload=false").await;
    let mut up_to = Lines::follow(&client, "&to=4").await;
    assert_eq!(all.next().await.unwrap()["event"]["type"], "collection_created");
    for seq in 2..20_u64 {
        let body = json!({"vectors": [{"id": seq.to_string(), "vector": [seq], "payload": {"n": seq}}]});
        assert_eq!(client.put("/collections/words/vectors", &body).await.expect(200)["seq"], seq);
        // It comes without anything else having to happen.
        let line = all.next().await.unwrap();
        assert_eq!(line["seq"], seq);
        assert_eq!(line["event"]["points"][0]["payload"], json!({"n": seq}));
    }
    for seq in 3..8 {
        let line = later.next().await.unwrap();
        assert_eq!(line["seq"], seq);
        assert_eq!(line["event"]["points"][0].get("payload"), None);
    }
    assert_eq!(later.next().await, None, "it ends at its limit");
    for seq in 1..5 {
        assert_eq!(up_to.next().await.unwrap()["seq"], seq);
    }
    assert_eq!(up_to.next().await, None, "it ends at the last record asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_may_follow_one_tenants_log_at_a_time_and_others_are_told_so() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (client, other) = (node.client(ACME), node.client(GLOBEX));
    client.create("words", 1, "dot").await;
    let follow = |client: &Client| client.request(Method::GET, "/log?follow=true").send();
    let mut following = Vec::new();
    let refused = loop {
        let answer = follow(&client).await.unwrap();
        if answer.status() != 200 {
            break crate::support::node::Answer::read(answer).await;
        }
        following.push(answer);
        assert!(following.len() <= 64, "there is no limit");
    };
    assert!(following.len() >= 2, "{} may follow", following.len());
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "too-many-followers"));
    assert!(refused.detail().contains("follow"));
    assert!(refused.headers.contains_key("retry-after"));
    // Who reads and goes, who writes, and another tenant are not in the way of the followers.
    assert_eq!(client.log("").await.len(), 1);
    assert_eq!(follow(&other).await.unwrap().status(), 200);
    let body = json!({"vectors": [{"id": "a", "vector": [1]}]});
    client.put("/collections/words/vectors", &body).await.expect(200);
    // A place is free again when its follower has gone.
    following.pop();
    let may_follow = async || follow(&client).await.unwrap().status() == 200;
    eventually("the place of a follower that has gone is free", may_follow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_ends_no_server_that_serves_in_the_clear() {
    let folder = TempDir::new().unwrap();
    for (command, flags) in
        [("serve", &[][..]), ("dev", &["--hub-listen", "127.0.0.1:0"][..]), ("hub", &[][..])]
    {
        let data = folder.path().join(command);
        let mut node =
            if command == "hub" { Node::hub(&data, flags) } else { Node::start(command, &data, flags) };
        for _ in 0..2 {
            node.signal("HUP");
        }
        let says = async || node.has_logged(&["SIGHUP"]);
        vectorizer_testing::eventually("it says what SIGHUP does", says).await;
        assert!(!node.has_ended(), "{command} has ended");
        let answer = crate::support::node::http().get(format!("{}/health", node.url())).send().await.unwrap();
        assert!(answer.status() == 200 || command == "hub", "{command}: {}", answer.status());
        node.stop();
    }
}
