//! Writes under conditions: an `Idempotency-Key` is good for one write, however often and from however
//! many sides it is asked for; an `If-Match` holds or nothing happens.

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::node::{Answer, Client, Node};

const KEY: &str = "idempotency-key";
const TAG: &str = "if-match";
const VECTORS: &str = "/collections/words/vectors";

/// A write: method, path, body, and the status it succeeds with.
type Write = (Method, &'static str, Value, u16);

/// Every kind of write, in an order in which all succeed.
fn every_kind() -> [Write; 8] {
    let delete = "/collections/words/vectors/delete";
    [
        (Method::POST, "/collections", json!({"name": "words", "dimension": 1, "metric": "dot"}), 201),
        (
            Method::PUT,
            VECTORS,
            json!({"vectors": [{"id": "a", "vector": [1]}, {"id": "b", "vector": [2]}, {"id": "c", "vector": [3]}]}),
            200,
        ),
        (Method::PATCH, "/collections/words/vectors/a/payload", json!({"n": 1}), 200),
        (Method::DELETE, "/collections/words/vectors/a", Value::Null, 200),
        (Method::POST, delete, json!({"ids": ["b", "never"]}), 200),
        (Method::POST, delete, json!({"filter": {"must": [{"has_id": ["c"]}]}}), 200),
        // It deletes nothing, and has to remember that it did.
        (Method::POST, delete, json!({"ids": ["never"]}), 200),
        (Method::DELETE, "/collections/words", Value::Null, 200),
    ]
}

async fn write(client: &Client, (method, path, body, _): &Write, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = client.request(method.clone(), path);
    if !body.is_null() {
        request = request.json(body);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request).await
}

fn replayed(headers: &HeaderMap) -> bool {
    headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

fn upsert(id: &str, value: f32) -> Write {
    (Method::PUT, VECTORS, json!({"vectors": [{"id": id, "vector": [value]}]}), 200)
}

async fn with_collection(data: &TempDir) -> (Node, Client) {
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    (node, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_of_any_kind_is_answered_and_not_done_again_even_after_sigkill() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    let mut given = Vec::new();
    for (number, asked) in every_kind().iter().enumerate() {
        let key = format!("key {number}");
        let first = write(&client, asked, &[(KEY, &key)]).await;
        assert!(!replayed(&first.headers));
        let first = first.expect(asked.3);
        assert_eq!(first["seq"], number + 1, "{first}");
        let data_seq = if first["deleted"] == 0 { number } else { number + 1 };
        assert_eq!(client.data_seq().await, data_seq as u64, "{first}");
        let head = client.head().await;
        for _ in 0..2 {
            let again = write(&client, asked, &[(KEY, &key)]).await;
            assert!(replayed(&again.headers), "{asked:?}");
            assert_eq!(again.expect(asked.3), first);
        }
        assert_eq!(client.head().await, head, "{asked:?}");
        given.push(first);
    }
    let log = client.log("").await;
    assert_eq!(log.len(), given.len());
    for (number, line) in log.iter().enumerate() {
        assert_eq!(line["idempotency_key"], format!("key {number}"));
    }
    node.kill();

    let node = Node::serve(data.path());
    let client = node.keyless();
    let head = client.head().await;
    for ((number, asked), given) in every_kind().iter().enumerate().zip(&given) {
        let again = write(&client, asked, &[(KEY, &format!("key {number}"))]).await;
        assert!(replayed(&again.headers), "{asked:?}");
        assert_eq!(&again.expect(asked.3), given);
    }
    assert_eq!(client.head().await, head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_used_for_another_body_route_or_method_is_refused() {
    let data = TempDir::new().unwrap();
    let (_node, client) = with_collection(&data).await;
    client.create("others", 1, "dot").await;
    let asked = upsert("a", 1.0);
    write(&client, &asked, &[(KEY, "once")]).await.expect(200);
    let head = client.head().await;
    let mut others = every_kind().to_vec();
    others.push(upsert("a", 2.0));
    others.push((Method::PUT, "/collections/others/vectors", asked.2.clone(), 200));
    for other in &others {
        let answer = write(&client, other, &[(KEY, "once")]).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (422, "idempotency-key-reused"), "{other:?}");
        assert!(answer.detail().contains("\"once\"") && answer.detail().contains("seq 3"), "{}", answer.body);
    }
    // The same path, and no body, by two methods.
    let path = "/collections/words/vectors/a";
    let delete = (Method::DELETE, path, Value::Null, 200);
    write(&client, &delete, &[(KEY, "delete")]).await.expect(200);
    let patched = (Method::PATCH, "/collections/words/vectors/a/payload", json!({}), 200);
    assert_eq!(write(&client, &patched, &[(KEY, "delete")]).await.problem(), "idempotency-key-reused");
    assert_eq!(client.head().await["seq"], head["seq"].as_u64().unwrap() + 1);
    // The key itself is as good as before.
    assert!(replayed(&write(&client, &asked, &[(KEY, "once")]).await.headers));
    // Keys are told apart to the letter.
    assert!(!replayed(&write(&client, &asked, &[(KEY, "Once")]).await.headers));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_requests_at_once_with_one_key_append_one_record() {
    let data = TempDir::new().unwrap();
    let (_node, client) = with_collection(&data).await;
    for round in 0..10_u64 {
        let (asked, key) = (upsert("a", 1.0), format!("round {round}"));
        let headers = [(KEY, key.as_str())];
        let answers = join_all((0..16).map(|_| write(&client, &asked, &headers))).await;
        assert_eq!(answers.iter().filter(|answer| !replayed(&answer.headers)).count(), 1);
        for answer in answers {
            assert_eq!(answer.expect(200), json!({"seq": round + 2, "upserted": 1}));
        }
        assert_eq!(client.head().await["seq"], round + 2);
    }
    // And of sixteen different ones under one key, one is done and fifteen are refused.
    for round in 0..5 {
        let key = format!("one of many {round}");
        let asked: Vec<Write> = (0..16_u8).map(|number| upsert(&format!("id-{number}"), 1.0)).collect();
        let headers = [(KEY, key.as_str())];
        let answers = join_all(asked.iter().map(|asked| write(&client, asked, &headers))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        let refused = answers.iter().filter(|answer| answer.status == 422);
        assert_eq!(refused.filter(|answer| answer.problem() == "idempotency-key-reused").count(), 15);
        assert_eq!(client.head().await["seq"], 12 + round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_its_key_unused() {
    let data = TempDir::new().unwrap();
    let (_node, client) = with_collection(&data).await;
    let head = client.head().await;
    let refused: [(Write, Option<&str>, u16); 5] = [
        ((Method::PUT, "/collections/none/vectors", upsert("a", 1.0).2, 200), None, 404),
        ((Method::DELETE, "/collections/words/vectors/none", Value::Null, 200), None, 404),
        ((Method::PUT, VECTORS, json!({"vectors": [{"id": "a", "vector": [1, 2]}]}), 200), None, 422),
        ((Method::PUT, VECTORS, json!({"vectors": []}), 200), None, 422),
        (upsert("a", 1.0), Some("\"99\""), 412),
    ];
    for (asked, if_match, status) in &refused {
        for _ in 0..2 {
            let headers: Vec<_> =
                if_match.map(|tag| (TAG, tag)).into_iter().chain([(KEY, "fresh")]).collect();
            let answer = write(&client, asked, &headers).await;
            assert!(!replayed(&answer.headers));
            answer.expect(*status);
        }
    }
    assert_eq!(client.head().await, head);
    let answer = write(&client, &upsert("a", 1.0), &[(KEY, "fresh")]).await;
    assert!(!replayed(&answer.headers));
    answer.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_accepts_the_last_change_and_no_other() {
    let data = TempDir::new().unwrap();
    let (_node, client) = with_collection(&data).await;
    client.create("others", 1, "dot").await;
    let mut last = 1_u64;
    for (number, (tags, passes)) in [
        (format!("\"{last}\""), true),
        ("*".to_owned(), true),
        (" * ".to_owned(), true),
        ("\"99\"".to_owned(), false),
        ("\"0\"".to_owned(), false),
        ("\"1\"".to_owned(), false),
        // The seq of another collection's last change.
        ("\"2\"".to_owned(), false),
        ("\"5\", \"6\"".to_owned(), true),
        ("\"99\",\"98\"".to_owned(), false),
        // A weak tag is one, and matches nothing.
        ("W/\"6\"".to_owned(), false),
        ("W/\"6\", \"6\"".to_owned(), true),
        ("W/\"x\"".to_owned(), false),
    ]
    .into_iter()
    .enumerate()
    {
        let head = client.head().await;
        let answer = write(&client, &upsert("a", number as f32), &[(TAG, &tags)]).await;
        if passes {
            last = answer.expect(200)["seq"].as_u64().unwrap();
        } else {
            assert_eq!((answer.status.as_u16(), answer.problem()), (412, "precondition-failed"), "{tags}");
            assert!(answer.detail().contains(&format!("\"words\" is {last}")), "{}", answer.detail());
            assert_eq!(client.head().await, head, "{tags}");
        }
        let described = client.get("/collections/words").await;
        assert_eq!(described.headers["etag"], format!("\"{last}\"").as_str(), "{tags}");
        assert_eq!(described.body["last_change"], last);
    }
    assert_eq!(last, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_holds_for_every_kind_of_write() {
    let data = TempDir::new().unwrap();
    let (_node, client) = with_collection(&data).await;
    let mut last = 1;
    for asked in every_kind().iter().skip(1) {
        let head = client.head().await;
        let refused = write(&client, asked, &[(TAG, "\"99\"")]).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (412, "precondition-failed"), "{asked:?}");
        assert_eq!(client.head().await, head);
        let answer = write(&client, asked, &[(TAG, &format!("\"{last}\""))]).await.expect(asked.3);
        last = answer["seq"].as_u64().unwrap();
    }
    // What is not there has no last change: not even `*` holds.
    for asked in &every_kind() {
        for tags in ["*", "\"1\""] {
            let answer = write(&client, asked, &[(TAG, tags)]).await;
            assert_eq!((answer.status.as_u16(), answer.problem()), (412, "precondition-failed"), "{asked:?}");
        }
    }
    assert_eq!(client.head().await["seq"], last);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_writers_with_the_same_if_match_exactly_one_wins() {
    let data = TempDir::new().unwrap();
    let (_node, client) = with_collection(&data).await;
    for round in 1..=10_u64 {
        let tag = format!("\"{round}\"");
        let kinds: Vec<Write> = (0..16_u8)
            .map(|number| match number % 4 {
                0..3 => upsert(&format!("id-{number}"), f32::from(number)),
                _ => upsert("same", f32::from(number)),
            })
            .collect();
        let headers = [(TAG, tag.as_str())];
        let answers = join_all(kinds.iter().map(|asked| write(&client, asked, &headers))).await;
        let won = answers.iter().filter(|answer| answer.status == 200);
        assert_eq!(won.map(|answer| answer.body["seq"].as_u64()).collect::<Vec<_>>(), [Some(round + 1)]);
        assert_eq!(answers.iter().filter(|answer| answer.status == 412).count(), 15);
        assert_eq!(client.head().await["seq"], round + 1);
    }
}
