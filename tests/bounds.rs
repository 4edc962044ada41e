//! What one client does, or fails to do, costs the others nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use vectorizer_testing::{Stopwatch, Wait, eventually};

use crate::support::metrics::{metrics, value};
use crate::support::node::{ACME, GLOBEX, Key, Node};

/// Opens a request with a body and sends none of it.
fn idle_upload(node: &Node, length: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.url().trim_start_matches("http://")).unwrap();
    let key = node.key(Key::ReadOnly(0));
    let head = format!(
        "POST /api/v1/collections/words/search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\n{length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_arrive_delay_no_other_request() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(GLOBEX);
    client.create("words", 2, "dot").await;
    let idle: Vec<TcpStream> = (0..64)
        .map(|number| match number % 2 {
            0 => idle_upload(&node, "Content-Length: 33554432"),
            _ => idle_upload(&node, "Transfer-Encoding: chunked"),
        })
        .collect();
    for round in 0..20 {
        let started = Stopwatch::start();
        let body = json!({"vectors": [{"id": round.to_string(), "vector": [1, 2]}]});
        client.put("/collections/words/vectors", &body).await.expect(200);
        assert!(started.elapsed() < Duration::from_secs(4), "a write waited for other people's bodies");
    }
    // And they are not waited for for ever: neither those that are read nor those of the same tenant that
    // wait for them.
    let statuses: Vec<String> = idle.into_iter().map(|mut stream| status(&mut stream)).collect();
    assert!(statuses.iter().all(|status| ["408", "503"].contains(&status.as_str())), "{statuses:?}");
    assert!(statuses.contains(&"408".to_owned()));
}

/// The status of the answer that comes.
fn status(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).strip_prefix("HTTP/1.1 ").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_uploads_leave_room_for_another() {
    const BODY_BYTES_MAX: usize = 2 << 20;
    let data = TempDir::new().unwrap();
    let most = BODY_BYTES_MAX.to_string();
    let node = Node::start("dev", data.path(), &["--hub-listen", "127.0.0.1:0", "--body-bytes-max", &most]);
    let (greedy, other) = (node.client(ACME), node.client(GLOBEX));
    greedy.create("words", 1, "dot").await;
    other.create("words", 1, "dot").await;
    // More than the node has room for, all but the last byte of each.
    let uploads: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = idle_upload(&node, &format!("Content-Length: {BODY_BYTES_MAX}"));
            std::thread::spawn(move || {
                let _ = stream.write_all(&vec![b' '; BODY_BYTES_MAX - 1]);
                stream
            })
        })
        .collect();
    // Two of them, all that one tenant may hold.
    let have_come = async || {
        value(&metrics(&node).await, "vectorizer_room_used_bytes{room=\"bodies\"}")
            >= (2 * BODY_BYTES_MAX) as f64
    };
    eventually("the uploads", have_come).await;
    let vectors: Vec<Value> = (0..16)
        .map(|id| json!({"id": id.to_string(), "vector": [1], "payload": {"text": "x".repeat(60_000)}}))
        .collect();
    let started = Stopwatch::start();
    other.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    assert!(started.elapsed() < Duration::from_secs(4), "a write waited for another tenant's uploads");
    // The greedy one waits for itself, and not for ever.
    let started = Stopwatch::start();
    let busy = greedy.put("/collections/words/vectors", &json!({ "vectors": vectors })).await;
    assert_eq!((busy.status.as_u16(), busy.problem()), (503, "busy"));
    assert_eq!(busy.headers["retry-after"], "1");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(uploads);
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_that_get_no_core_are_told_so() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 1, "dot").await;
    let kind = "a".repeat(65);
    for batch in 0..16 {
        let vectors: Vec<Value> = (0..5_000)
            .map(|id| json!({"id": format!("{batch}-{id}"), "vector": [id], "payload": {"kind": kind}}))
            .collect();
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
    // That one element of an array is missing is told by payloads only.
    let all: Vec<Value> = (0..100).map(|nth| json!({"is_empty": {"key": format!("kind[{nth}]")}})).collect();
    let long = json!({"searches": vec![json!({"vector": [1], "filter": {"must": all}}); 100]});
    let cores = std::thread::available_parallelism().unwrap().get();
    // Which of them get a core is not said, nor how soon the machine lets them ask.
    let mut searching = JoinSet::new();
    // On a quick machine one of them takes half a second of a core.
    for _ in 0..24 * cores {
        let (client, long) = (client.clone(), long.clone());
        searching.spawn(async move { client.post("/collections/words/search/batch", &long).await });
    }
    let mut told = false;
    while !told && let Some(answer) = searching.join_next().await {
        let answer = answer.unwrap();
        told = answer.status != 200;
        if told {
            assert_eq!((answer.status.as_u16(), answer.problem()), (503, "busy"));
            assert_eq!(answer.headers["retry-after"], "1");
        }
    }
    assert!(told, "all of them got a core");
}

/// Asks for a large page and takes no more of it than its first line.
fn asked_for(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.authority()).unwrap();
    let key = node.key(ACME);
    let head = format!(
        "GET /api/v1/collections/words/vectors?limit=600 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \
         {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(status(&mut stream), "200");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_clients_do_not_read_are_counted_and_cost_other_tenants_nothing() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (greedy, other) = (node.client(ACME), node.client(GLOBEX));
    for (client, batches) in [(&greedy, 3), (&other, 1)] {
        client.create("words", 1, "dot").await;
        for batch in 0..batches {
            let vectors: Vec<Value> = (0..200)
                .map(|id| json!({"id": format!("{batch}-{id}"), "vector": [1], "payload": {"text": "x".repeat(60_000)}}))
                .collect();
            client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
        }
    }
    // Each has 36 MB, of which the connection itself takes a few.
    let untaken: Vec<TcpStream> = (0..2).map(|_| asked_for(&node)).collect();
    let page = "/collections/words/vectors?limit=600";
    let busy = greedy.get(page).await;
    assert_eq!(busy.status, 503);
    assert_eq!(busy.problem(), "busy");
    assert_eq!(greedy.get("/collections/words/vectors?limit=1").await.status, 200);
    assert_eq!(other.get(page).await.expect(200)["vectors"].as_array().unwrap().len(), 200);
    // With the client goes what was kept for it.
    drop(untaken);
    let is_answered = async || greedy.get(page).await.status == 200;
    Wait::new("the memory is free again").at_most(Duration::from_secs(10)).until(is_answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_wakes_although_the_client_that_woke_it_has_disconnected() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 128, "dot").await;
    for batch in 0..20 {
        let vectors: Vec<Value> =
            (0..1_000).map(|id| json!({"id": format!("{batch}-{id}"), "vector": vec![id; 128]})).collect();
        client.load("/collections/words/vectors", &json!({ "vectors": vectors })).await;
    }
    node.kill();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    // Each leaves before the log can have been read; the waking they asked for goes on.
    for _ in 0..3 {
        let impatient =
            client.request(reqwest::Method::GET, "/collections").timeout(Duration::from_millis(15));
        let _ = impatient.send().await;
    }
    assert_eq!(client.get("/collections").await.expect(200)["collections"][0]["count"], 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_refused_before_it_is_built() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let client = node.client(ACME);
    client.create("words", 4_096, "dot").await;
    for batch in 0..4 {
        let vectors: Vec<Value> =
            (0..100).map(|id| json!({"id": format!("{batch}-{id}"), "vector": vec![id; 4_096]})).collect();
        client.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
    }
    let search = json!({"vector": vec![1; 4_096], "limit": 400, "with_vector": true});
    let one = client.post("/collections/words/search", &search).await.expect(200);
    assert_eq!(one["results"].as_array().unwrap().len(), 400);
    let batch = json!({"searches": vec![search; 4]});
    let many = client.post("/collections/words/search/batch", &batch).await;
    assert_eq!((many.status.as_u16(), many.problem()), (422, "answer-too-large"), "{}", many.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_share_a_data_folder() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let folder = data.path().to_str().unwrap();
    let second = crate::support::node::vectorizer(["serve", "--listen", "127.0.0.1:0", "--data-dir", folder]);
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another server uses it"));
    node.stop();
}

/// Each value is one that the index of payloads has not seen, so applying the record takes long. All reads of its
/// tenant wait meanwhile, more than there are threads.
#[tokio::test(flavor = "multi_thread")]
async fn others_are_answered_while_a_long_record_is_applied() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (busy, other) = (node.client(ACME), node.client(GLOBEX));
    busy.create("words", 1, "dot").await;
    other.create("words", 1, "dot").await;
    let payload = |number: u32| -> Value {
        (0..20).map(|key| (format!("k{key}"), json!(format!("{number}-{key}")))).collect()
    };
    let vectors: Vec<Value> = (0..3_000)
        .map(|number| json!({"id": number.to_string(), "vector": [1], "payload": payload(number)}))
        .collect();
    let (answered, written) = (AtomicU32::new(0), AtomicBool::new(false));
    let write = async {
        busy.put("/collections/words/vectors", &json!({ "vectors": vectors })).await.expect(200);
        written.store(true, Ordering::Relaxed);
    };
    let others = async {
        while !written.load(Ordering::Relaxed) {
            other.get("/collections/words").await.expect(200);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    // The longest that a read of the busy tenant took, and how many of the other one were answered meanwhile.
    let reads = join_all((0..16).map(|_| async {
        let mut longest = (Duration::ZERO, 0);
        while !written.load(Ordering::Relaxed) {
            let (started, before) = (Stopwatch::start(), answered.load(Ordering::Relaxed));
            busy.get("/collections/words").await.expect(200);
            let meanwhile = answered.load(Ordering::Relaxed) - before;
            longest = longest.max((started.elapsed_meanwhile().await, meanwhile));
        }
        longest
    }));
    let ((), (), reads) = tokio::join!(write, others, reads);
    let (waited, answered) = reads.into_iter().max().unwrap();
    let expected = u32::try_from(waited.as_millis() / 100).unwrap();
    assert!(
        answered >= expected,
        "while a read waited for {waited:?}, {answered} of another tenant were answered"
    );
}
