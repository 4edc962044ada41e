//! Texts become vectors before anything is appended, or nothing is written; what was written needs nobody.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::node::{Client, Node, vectorizer};

const NOTES: &str = "/collections/notes/vectors";
const SEARCH: &str = "/collections/notes/search";
const ONE: &str = r#"{"data": [{"index": 0, "embedding": [1, 2, 3]}]}"#;
const KEY: &str = "sk-not-to-be-seen";

/// How the service behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Well,
    /// This status.
    Status(u16),
    /// This status as often, then well.
    FailsFor(u16, usize),
    /// This, with 200.
    Says(&'static str),
    Resets,
    /// Half an answer.
    BreaksOff,
    Silent,
    /// To another address, which it is itself.
    Redirects,
}

/// A small service that makes embeddings, and misbehaves.
#[derive(Clone)]
struct Service {
    url: String,
    behaviour: Arc<Mutex<Behaviour>>,
    /// What it was asked: head and body.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let service = Self { url, behaviour: Arc::new(Mutex::new(Behaviour::Well)), asked: Arc::default() };
        let serving = service.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = serving.clone();
                tokio::spawn(async move { service.answer(stream).await });
            }
        });
        service
    }

    fn behaves(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn answer(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let (head, body) = loop {
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
            let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(request[..end].to_vec()).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let length: usize = length.parse().unwrap();
            if request.len() >= end + 4 + length {
                break (head, serde_json::from_slice::<Value>(&request[end + 4..]).unwrap());
            }
        };
        self.asked.lock().unwrap().push((head, body.clone()));
        let behaviour = *self.behaviour.lock().unwrap();
        let well =
            json!({"object": "list", "model": body["model"], "data": embeddings(&body["input"])}).to_string();
        let (status, header, answer) = match behaviour {
            Behaviour::Well => (200, String::new(), well),
            Behaviour::Status(status) => (status, String::new(), well),
            Behaviour::FailsFor(status, times) => {
                self.behaves(if times > 1 {
                    Behaviour::FailsFor(status, times - 1)
                } else {
                    Behaviour::Well
                });
                (status, String::new(), String::new())
            }
            Behaviour::Says(text) => (200, String::new(), text.to_owned()),
            Behaviour::Resets => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Behaviour::BreaksOff => {
                let half = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{{\"data\":", well.len());
                let _ = stream.write_all(half.as_bytes()).await;
                return;
            }
            Behaviour::Silent => {
                tokio::time::sleep(Duration::from_mins(5)).await;
                return;
            }
            Behaviour::Redirects => (307, format!("location: {}/embeddings\r\n", self.url), String::new()),
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{header}connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// How much each text is about apples and about pears, and that it is one; the last one first.
fn embeddings(texts: &Value) -> Vec<Value> {
    let about = |text: &str, word: &str| text.matches(word).count();
    let embedding = |(index, text): (usize, &Value)| {
        let text = text.as_str().unwrap();
        json!({"object": "embedding", "index": index, "embedding": [about(text, "apple"), about(text, "pear"), 1]})
    };
    texts.as_array().unwrap().iter().enumerate().rev().map(embedding).collect()
}

fn node(data: &TempDir, service: &Service, dimension: &str) -> Node {
    Node::start(
        "serve",
        data.path(),
        &[
            "--embedding-url",
            &service.url,
            "--embedding-model",
            "fruit",
            "--embedding-key",
            KEY,
            "--embedding-dimension",
            dimension,
        ],
    )
}

async fn create(client: &Client, dimension: usize) {
    let body = json!({"name": "notes", "dimension": dimension, "metric": "cosine", "text": true});
    client.post("/collections", &body).await.expect(201);
}

async fn found(client: &Client, body: Value) -> Vec<String> {
    let results = client.post(SEARCH, &body).await.expect(200)["results"].clone();
    results.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

async fn fruit(client: &Client) {
    let body = json!({"vectors": [
        {"id": "a", "text": "apple apple apple"},
        {"id": "p", "text": "pear pear pear"},
        {"id": "own", "text": "pears, they say", "vector": [1, 0, 0]},
        {"id": "mute", "vector": [0, 0, 1]},
    ]});
    client.put(NOTES, &body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_become_vectors_on_write_and_on_search_and_a_replay_calls_no_service() {
    let (data, service) = (TempDir::new().unwrap(), Service::start().await);
    let node = node(&data, &service, "3");
    let client = node.keyless();
    create(&client, 3).await;
    fruit(&client).await;
    {
        let asked = service.asked.lock().unwrap();
        let [(head, body)] = asked.as_slice() else { panic!("asked {} times", asked.len()) };
        assert!(
            head.starts_with("post /v1/embeddings ")
                && head.contains(&format!("authorization: bearer {KEY}"))
        );
        assert_eq!(*body, json!({"model": "fruit", "input": ["apple apple apple", "pear pear pear"]}));
    }
    for (id, vector) in [("a", [3.0, 0.0, 1.0]), ("p", [0.0, 3.0, 1.0]), ("own", [1.0, 0.0, 0.0])] {
        let shown = client.get(&format!("{NOTES}/{id}?with_vector=true")).await.expect(200);
        assert_eq!(shown["vector"], json!(vector));
    }
    // By words and by meaning; by words alone; by meaning alone.
    assert_eq!(found(&client, json!({"text": "apple", "limit": 1})).await, ["a"]);
    assert_eq!(service.asked(), 2);
    assert_eq!(found(&client, json!({"text": "pears", "rank_by": "text"})).await, ["own"]);
    assert_eq!(service.asked(), 2);
    assert_eq!(
        found(&client, json!({"text": "pear pear", "rank_by": "vector", "limit": 2})).await,
        ["p", "mute"]
    );
    let both = json!({"text": "apple", "rank_by": "both"});
    let batch =
        json!({"searches": [both, {"vector": [1, 0, 0], "limit": 1}, {"text": "pear", "rank_by": "vector"}]});
    let asked = service.asked();
    let answer = client.post("/collections/notes/search/batch", &batch).await.expect(200);
    assert_eq!(service.asked(), asked + 1, "one question for all of a batch");
    assert_eq!(answer["searches"][0], client.post(SEARCH, &both).await.expect(200));
    assert_eq!(answer["searches"][1]["results"][0]["id"], "own");
    assert_eq!(answer["searches"][2]["results"][0]["id"], "p");
    // Many texts are several questions.
    let asked = service.asked();
    let many: Vec<Value> =
        (0..130).map(|number| json!({"id": format!("m{number}"), "text": "pear"})).collect();
    client.put(NOTES, &json!({"vectors": many})).await.expect(200);
    assert_eq!(service.asked(), asked + 3);

    // Another life, and another process, without the service.
    let before = client.get(&format!("{NOTES}?limit=1000&with_vector=true")).await.expect(200);
    let asked = service.asked();
    drop(node);
    let folder = data.path().to_str().unwrap();
    assert!(vectorizer(["replay", "--data-dir", folder, "--tenant", "default"]).status.success());
    let node = Node::serve(data.path());
    let client = node.keyless();
    assert_eq!(client.get(&format!("{NOTES}?limit=1000&with_vector=true")).await.expect(200), before);
    assert_eq!(service.asked(), asked);
    let refused = client.post(SEARCH, &json!({"text": "apple", "rank_by": "vector"})).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (422, "invalid-rank-by"));
    let refused = client.put(NOTES, &json!({"vectors": [{"id": "x", "text": "apple"}]})).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (422, "vector-missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_in_any_way_is_a_503_and_nothing_is_appended() {
    let (data, service) = (TempDir::new().unwrap(), Service::start().await);
    let node = node(&data, &service, "3");
    let client = node.keyless();
    create(&client, 3).await;
    fruit(&client).await;
    let before = client.head().await;
    let write = json!({"vectors": [{"id": "x", "text": "an apple"}, {"id": "y", "text": "a pear"}]});
    for behaviour in [
        Behaviour::Status(500),
        Behaviour::Status(503),
        Behaviour::Status(429),
        Behaviour::Status(401),
        Behaviour::Status(404),
        Behaviour::Status(201),
        Behaviour::Redirects,
        Behaviour::Resets,
        Behaviour::BreaksOff,
        Behaviour::Says(""),
        Behaviour::Says("garbage"),
        Behaviour::Says("{}"),
        Behaviour::Says(r#"{"data": []}"#),
        Behaviour::Says(ONE),
        Behaviour::Says(
            r#"{"data": [{"index": 0, "embedding": [1, 2, 3]}, {"index": 0, "embedding": [1, 2, 3]}]}"#,
        ),
        Behaviour::Says(
            r#"{"data": [{"index": 0, "embedding": [1, 2, 3]}, {"index": 2, "embedding": [1, 2, 3]}]}"#,
        ),
        Behaviour::Says(r#"{"data": [{"embedding": [1, 2]}, {"embedding": [1, 2]}]}"#),
        Behaviour::Says(r#"{"data": [{"embedding": [1, 2, 3]}, {"embedding": [1, 2, 1e300]}]}"#),
        Behaviour::Says(r#"{"data": [{"embedding": [1, 2, 3]}, {"embedding": [0, 0, 0]}]}"#),
        Behaviour::Says(r#"{"data": [{"embedding": [1, 2, null]}, {"embedding": [1, 2, 3]}]}"#),
    ] {
        service.behaves(behaviour);
        let asked = service.asked();
        let answer = client.put(NOTES, &write).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (503, "embedding-unavailable"),
            "{behaviour:?}"
        );
        assert_eq!(answer.headers["retry-after"], "5");
        assert!(!answer.body.to_string().contains(&service.url), "{}", answer.body);
        let tries = service.asked() - asked;
        let again = matches!(
            behaviour,
            Behaviour::Status(500 | 503 | 429) | Behaviour::Resets | Behaviour::BreaksOff
        );
        assert_eq!(tries, if again { 3 } else { 1 }, "{behaviour:?}");
        let answer = client.post(SEARCH, &json!({"text": "apple"})).await;
        // One embedding is right for the one text of a search.
        if behaviour == Behaviour::Says(ONE) {
            answer.expect(200);
        } else {
            assert_eq!(answer.problem(), "embedding-unavailable", "{behaviour:?}");
        }
        // Words need nobody, nor does a vector that is sent.
        assert_eq!(found(&client, json!({"text": "apple", "rank_by": "text"})).await, ["a"]);
        assert_eq!(found(&client, json!({"vector": [0, 0, 1], "limit": 1})).await, ["mute"]);
        assert_eq!(client.head().await, before, "{behaviour:?}");
    }
    // A moment's failure nobody notices.
    service.behaves(Behaviour::FailsFor(500, 2));
    client.put(NOTES, &write).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_says_nothing_is_waited_for_and_not_for_ever() {
    let (data, service) = (TempDir::new().unwrap(), Service::start().await);
    let node = node(&data, &service, "3");
    let client = node.keyless();
    create(&client, 3).await;
    let write = json!({"vectors": [{"id": "x", "text": "an apple"}]});
    service.behaves(Behaviour::Silent);
    let before = client.head().await;
    let started = Instant::now();
    assert_eq!(client.put(NOTES, &write).await.problem(), "embedding-unavailable");
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(35)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(client.head().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_is_answered_though_its_embedding_would_differ_or_cannot_be_had() {
    let (data, service) = (TempDir::new().unwrap(), Service::start().await);
    let node = node(&data, &service, "3");
    let client = node.keyless();
    create(&client, 3).await;
    let write = async || {
        let body = json!({"vectors": [{"id": "x", "text": "apple"}]});
        let request = client.request(Method::PUT, NOTES).header("idempotency-key", "once").json(&body);
        client.send(request).await
    };
    let first = write().await.expect(200);
    for behaviour in [Behaviour::Says(r#"{"data": [{"embedding": [9, 9, 9]}]}"#), Behaviour::Status(500)] {
        service.behaves(behaviour);
        let again = write().await;
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(again.expect(200), first);
    }
    let stored = client.get(&format!("{NOTES}/x?with_vector=true")).await.expect(200);
    assert_eq!(stored["vector"], json!([1.0, 0.0, 1.0]));
    assert_eq!(service.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_another_dimension_is_told_from_a_service_that_fails() {
    let (data, service) = (TempDir::new().unwrap(), Service::start().await);
    let node = node(&data, &service, "3");
    let client = node.keyless();
    create(&client, 2).await;
    let answer = client.put(NOTES, &json!({"vectors": [{"id": "x", "text": "apple"}]})).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (422, "embedding-dimension"));
    assert!(answer.detail().contains("dimension 2") && answer.detail().contains('3'), "{}", answer.detail());
    client
        .put(NOTES, &json!({"vectors": [{"id": "x", "text": "apple", "vector": [1, 2]}]}))
        .await
        .expect(200);
    // By words, which it has; by meaning, which nobody can tell.
    assert_eq!(found(&client, json!({"text": "apple"})).await, ["x"]);
    let answer = client.post(SEARCH, &json!({"text": "apple", "rank_by": "vector"})).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (422, "embedding-dimension"));
    for (body, says) in [
        (json!({"vector": [1, 2], "text": "a", "rank_by": "vector"}), "text"),
        (json!({"vector": [1, 2], "rank_by": "text"}), "vector"),
        (json!({"vector": [1, 2], "rank_by": "both"}), "text"),
    ] {
        let answer = client.post(SEARCH, &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (422, "invalid-rank-by"), "{body}");
        assert!(answer.detail().contains(says), "{}", answer.detail());
    }
    let many: Vec<Value> =
        (0..1025).map(|number| json!({"id": format!("m{number}"), "text": "pear"})).collect();
    let wide = json!({"name": "wide", "dimension": 3, "metric": "dot", "text": true});
    client.post("/collections", &wide).await.expect(201);
    let answer = client.put("/collections/wide/vectors", &json!({"vectors": many})).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (422, "too-many-texts"));
    assert_eq!(service.asked(), 0);
}
