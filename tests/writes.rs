//! What is written is there for everybody from the answer on, whole, in one order, bit for bit.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_testing::Random;

use crate::support::node::{Client, Node};

/// Any finite f32: large, small, subnormal, of either sign.
fn finite(random: &mut Random) -> f32 {
    loop {
        let number = f32::from_bits((random.next() >> 32) as u32);
        if number.is_finite() {
            return number;
        }
    }
}

fn base64_of(numbers: &[f32]) -> String {
    BASE64.encode(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
}

async fn count(client: &Client, collection: &str) -> Value {
    client.post(&format!("/collections/{collection}/count"), &json!({})).await.expect(200)["count"].clone()
}

async fn put(client: &Client, collection: &str, vectors: Value) -> Value {
    let body = json!({ "vectors": vectors });
    client.put(&format!("/collections/{collection}/vectors"), &body).await.expect(200)
}

async fn search(client: &Client, collection: &str, body: &Value) -> Value {
    client.post(&format!("/collections/{collection}/search"), body).await.expect(200)["results"].clone()
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|point| point["id"].as_str().unwrap()).collect()
}

/// Everything in a collection by paging, `limit` at a time.
async fn pages(client: &Client, collection: &str, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/collections/{collection}/vectors?limit={limit}&with_vector=true{cursor}");
        let page = client.get(&path).await.expect(200);
        let vectors = page["vectors"].as_array().unwrap();
        all.extend(vectors.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => {
                assert_eq!(vectors.len(), limit, "a page with a next one is full");
                cursor = format!("&cursor={next}");
            }
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_the_answer_sees_the_write() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 2, "euclidean").await;
    join_all((0..8_u32).map(|writer| {
        let (client, other) = (client.clone(), client.clone());
        async move {
            for round in 0..15_u32 {
                let (id, place) = (format!("{writer}-{round}"), [writer * 1_000 + 7, round * 1_000 + 7]);
                let point = json!({"id": id, "vector": place, "payload": {"round": round}});
                put(&client, "words", json!([point])).await;
                let found = search(&other, "words", &json!({"vector": place, "limit": 1})).await;
                assert_eq!(found, json!([{"id": id, "score": 0.0, "payload": {"round": round}}]));
                let path = format!("/collections/words/vectors/{id}");
                other.get(&path).await.expect(200);
                if round % 3 == 0 {
                    client.delete(&path).await.expect(200);
                    other.get(&path).await.expect(404);
                    let found = search(&other, "words", &json!({"vector": place, "limit": 1})).await;
                    assert_ne!(found[0]["id"], *id);
                }
            }
        }
    }))
    .await;
    assert_eq!(count(&client, "words").await, 8 * 10);
}

/// One client among many: what it was answered, by seq, with the id of its request.
async fn write_at_random(client: Client, number: u64) -> Vec<(u64, String)> {
    let mut random = Random::new(number);
    let mut answered = Vec::new();
    for _ in 0..12 {
        let collection = ["hot", "hot", "warm", "cold"][random.below(4) as usize];
        let base = format!("/collections/{collection}/vectors");
        let id = format!("id-{}", random.below(20));
        let request = match random.below(6) {
            0..3 => {
                let others = (20..20 + random.below(5)).map(|other| format!("id-{other}"));
                let vectors: Vec<Value> = std::iter::once(id)
                    .chain(others)
                    .map(|id| json!({"id": id, "vector": [random.below(100), number], "payload": {"by": number}}))
                    .collect();
                client.request(Method::PUT, &base).json(&json!({ "vectors": vectors }))
            }
            3 => client.request(Method::DELETE, &format!("{base}/{id}")),
            4 => {
                let patch = json!({"patched": {format!("by-{number}"): true}});
                client.request(Method::PATCH, &format!("{base}/{id}/payload")).json(&patch)
            }
            _ => {
                let ids: Vec<String> = (18..22).map(|other| format!("id-{other}")).collect();
                client.request(Method::POST, &format!("{base}/delete")).json(&json!({ "ids": ids }))
            }
        };
        let answer = client.send(request).await;
        assert!([200, 404].contains(&answer.status.as_u16()), "{}", answer.body);
        // What found nothing to delete has appended nothing.
        if answer.status == 200 && answer.body["deleted"] != 0 {
            let request_id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
            answered.push((answer.body["seq"].as_u64().unwrap(), request_id));
        }
    }
    answered
}

/// By collection, by id: the vector as base64, and the payload.
type Model = HashMap<String, BTreeMap<String, (String, Value)>>;

/// What a log adds up to, read by somebody who knows nothing but the log.
fn fold(log: &[Value]) -> Model {
    let mut names: HashMap<u64, String> = HashMap::new();
    let mut model = Model::new();
    for line in log {
        let event = &line["event"];
        let collection = event["collection"].as_u64().map(|id| names[&id].clone());
        match event["type"].as_str().unwrap() {
            "collection_created" => {
                let name = event["name"].as_str().unwrap().to_owned();
                model.insert(name.clone(), BTreeMap::new());
                names.insert(line["seq"].as_u64().unwrap(), name);
            }
            "vectors_upserted" => {
                let points = model.get_mut(&collection.unwrap()).unwrap();
                for point in event["points"].as_array().unwrap() {
                    let vector = point["vector"].as_str().unwrap().to_owned();
                    points
                        .insert(point["id"].as_str().unwrap().to_owned(), (vector, point["payload"].clone()));
                }
            }
            "vectors_deleted" => {
                let points = model.get_mut(&collection.unwrap()).unwrap();
                for id in event["ids"].as_array().unwrap() {
                    points.remove(id.as_str().unwrap()).expect("only what is there is deleted");
                }
            }
            "payload_changed" => {
                let points = model.get_mut(&collection.unwrap()).unwrap();
                points.get_mut(event["id"].as_str().unwrap()).unwrap().1 = event["payload"].clone();
            }
            other => panic!("{other}"),
        }
    }
    model
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_every_write_has_a_place_of_its_own_and_the_last_one_stands() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    for name in ["hot", "warm", "cold"] {
        client.create(name, 2, "dot").await;
    }
    let answered: Vec<(u64, String)> =
        join_all((0..32).map(|number| tokio::spawn(write_at_random(client.clone(), number))))
            .await
            .into_iter()
            .flat_map(Result::unwrap)
            .collect();
    assert!(answered.len() > 150, "{} writes", answered.len());
    let distinct: HashSet<u64> = answered.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(distinct.len(), answered.len(), "two writes were answered with one seq");

    let log = client.log("?with_vector=true").await;
    let seqs: Vec<u64> = log.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=answered.len() as u64 + 3).collect::<Vec<_>>());
    // RFC 3339 in UTC with a fixed number of digits, so the texts are in the order of the times.
    let times: Vec<&str> = log.iter().map(|line| line["at"].as_str().unwrap()).collect();
    assert!(times.iter().all(|at| at.len() == times[0].len() && at.ends_with('Z')), "{times:?}");
    assert!(times.is_sorted(), "time runs backwards");
    for (seq, request_id) in &answered {
        assert_eq!(&log[*seq as usize - 1]["request_id"], request_id);
    }

    for (name, expected) in fold(&log) {
        let found: BTreeMap<String, (String, Value)> = pages(&client, &name, 7)
            .await
            .iter()
            .map(|point| {
                let payload = point.get("payload").cloned().unwrap_or_default();
                (point["id"].as_str().unwrap().to_owned(), (base64_of(&numbers_of(point)), payload))
            })
            .collect();
        assert_eq!(found, expected, "{name}");
        assert_eq!(count(&client, &name).await, expected.len());
    }
}

fn numbers_of(point: &Value) -> Vec<f32> {
    point["vector"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_come_back_bit_for_bit_under_every_metric_in_every_encoding() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    let mut random = Random::new(1);
    let mut vectors: Vec<Vec<f32>> = (0..40).map(|_| (0..8).map(|_| finite(&mut random)).collect()).collect();
    let smallest = f32::from_bits(1);
    vectors.push(vec![-0.0, 0.0, smallest, -smallest, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 0.1]);
    vectors.push(vec![smallest; 8]);
    vectors.push(vec![f32::MAX; 8]);
    assert!(vectors.iter().flatten().any(|number| number.is_subnormal()));
    for metric in ["cosine", "dot", "euclidean"] {
        client.create(metric, 8, metric).await;
        let array = |number: usize| json!({"id": format!("array-{number}"), "vector": vectors[number]});
        let base64 =
            |number: usize| json!({"id": format!("base64-{number}"), "vector": base64_of(&vectors[number])});
        put(&client, metric, (0..vectors.len()).map(array).collect()).await;
        let lines: Vec<String> = (0..vectors.len()).map(|number| base64(number).to_string()).collect();
        let request = client.request(Method::PUT, &format!("/collections/{metric}/vectors"));
        let request = request.header("content-type", "application/x-ndjson").body(lines.join("\n"));
        assert_eq!(client.send(request).await.expect(200)["upserted"], vectors.len());
    }
    let check = async |client: &Client, metric: &str| {
        for (number, vector) in vectors.iter().enumerate() {
            for encoding in ["array", "base64"] {
                let path = format!("/collections/{metric}/vectors/{encoding}-{number}?with_vector=true");
                let found = numbers_of(&client.get(&path).await.expect(200));
                assert_eq!(base64_of(&found), base64_of(vector), "{metric} {encoding} {number}");
            }
        }
        let everything = json!({"vector": vec![1; 8], "limit": 1_000, "with_vector": true});
        let found = search(client, metric, &everything).await;
        assert_eq!(found.as_array().unwrap().len(), 2 * vectors.len());
        for point in found.as_array().unwrap() {
            let number: usize = point["id"].as_str().unwrap().split_once('-').unwrap().1.parse().unwrap();
            assert_eq!(base64_of(&numbers_of(point)), base64_of(&vectors[number]));
            assert!(point["score"].as_f64().unwrap().is_finite());
        }
    };
    for metric in ["cosine", "dot", "euclidean"] {
        check(&client, metric).await;
    }
    node.kill();
    let node = Node::serve(data.path());
    let client = node.keyless();
    for metric in ["cosine", "dot", "euclidean"] {
        check(&client, metric).await;
    }
}

/// The score as the design defines it.
fn score(metric: &str, left: &[f32], right: &[f32]) -> f64 {
    let dot = |left: &[f32], right: &[f32]| -> f64 {
        left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
    };
    match metric {
        "dot" => dot(left, right),
        "cosine" => dot(left, right) / (dot(left, left) * dot(right, right)).sqrt(),
        "euclidean" => {
            let squares =
                left.iter().zip(right).map(|(left, right)| (f64::from(*left) - f64::from(*right)).powi(2));
            squares.sum::<f64>().sqrt()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_the_best_there_are_in_the_order_of_their_scores_and_ids() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    let mut random = Random::new(2);
    // Small whole numbers: exact in f32, with many ties.
    let mut vector = || -> Vec<f32> { (0..4).map(|_| random.below(5) as f32 + 1.0).collect() };
    let vectors: Vec<Vec<f32>> = (0..300).map(|_| vector()).collect();
    let queries: Vec<Vec<f32>> = (0..10).map(|_| vector()).collect();
    for metric in ["cosine", "dot", "euclidean"] {
        client.create(metric, 4, metric).await;
        let points = vectors.iter().enumerate().map(|(number, vector)| {
            json!({"id": format!("id-{number}"), "vector": vector, "payload": {"even": number % 2 == 0}})
        });
        put(&client, metric, points.collect()).await;
        let higher_first = metric != "euclidean";
        for query in &queries {
            let found = search(&client, metric, &json!({"vector": query, "limit": 1_000})).await;
            let hits: Vec<(String, f64)> = found
                .as_array()
                .unwrap()
                .iter()
                .map(|hit| (hit["id"].as_str().unwrap().to_owned(), hit["score"].as_f64().unwrap()))
                .collect();
            assert_eq!(hits.len(), vectors.len());
            for (id, found) in &hits {
                let number: usize = id["id-".len()..].parse().unwrap();
                let expected = score(metric, query, &vectors[number]);
                assert!(
                    (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                    "{metric} {id}: {found} {expected}"
                );
            }
            // Best first, equal ones by id. `total_cmp` of what was answered: ties are ties of scores.
            let sorted = hits.is_sorted_by(|(left_id, left), (right_id, right)| {
                let order = if higher_first { right.total_cmp(left) } else { left.total_cmp(right) };
                order.then_with(|| left_id.cmp(right_id)).is_lt()
            });
            assert!(sorted, "{metric}: {hits:?}");
            assert!(
                hits.windows(2).any(|pair| pair[0].1.to_bits() == pair[1].1.to_bits()),
                "no tie was tried"
            );
            assert!(hits.windows(2).all(|pair| pair[0].0 != pair[1].0));

            // A limit takes the first of them, a threshold those that are good enough, itself included.
            for limit in [1, 7, 299] {
                let fewer = search(&client, metric, &json!({"vector": query, "limit": limit})).await;
                assert_eq!(fewer.as_array().unwrap()[..], found.as_array().unwrap()[..limit]);
            }
            let ten = search(&client, metric, &json!({"vector": query})).await;
            assert_eq!(ten.as_array().unwrap()[..], found.as_array().unwrap()[..10]);
            let threshold = hits[40].1;
            let good = hits
                .iter()
                .filter(|(_, score)| if higher_first { *score >= threshold } else { *score <= threshold });
            let body = json!({"vector": query, "limit": 1_000, "score_threshold": threshold});
            let enough = search(&client, metric, &body).await;
            assert_eq!(ids(&enough), good.map(|(id, _)| id.as_str()).collect::<Vec<_>>());
            // A filter takes away the others and changes no score.
            let filter = json!({"must": [{"key": "even", "match": {"value": true}}]});
            let even =
                search(&client, metric, &json!({"vector": query, "limit": 1_000, "filter": filter})).await;
            let expected = found.as_array().unwrap().iter().filter(|hit| hit["payload"]["even"] == true);
            assert_eq!(even.as_array().unwrap().iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
        // Both encodings of a query are one query, `exact` and `ef` change nothing but the effort.
        let plain = search(&client, metric, &json!({"vector": queries[0]})).await;
        for same in [
            json!({"vector": base64_of(&queries[0])}),
            json!({"vector": queries[0], "exact": true}),
            json!({"vector": queries[0], "ef": 4_096, "exact": false}),
        ] {
            assert_eq!(search(&client, metric, &same).await, plain);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_searches_answers_what_the_searches_answer_and_shows_what_was_asked_for() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 2, "dot").await;
    put(
        &client,
        "words",
        (1..50)
            .map(|number| json!({"id": number.to_string(), "vector": [number, 1], "payload": {"n": number}}))
            .collect(),
    )
    .await;
    put(&client, "words", json!([{"id": "bare", "vector": [0, 1]}])).await;
    let searches = json!([
        {"vector": [1, 0], "limit": 3},
        {"vector": [-1, 0], "limit": 2, "with_payload": false},
        {"vector": [0, 1], "limit": 50, "with_vector": true, "filter": {"must": [{"key": "n", "range": {"lt": 5}}]}},
        {"vector": [1, 1], "score_threshold": 45},
        {"vector": [1, 1], "filter": {"must": [{"key": "never", "match": {"value": 1}}]}},
    ]);
    let body = json!({ "searches": searches });
    let batch = client.post("/collections/words/search/batch", &body).await.expect(200);
    assert_eq!(batch["searches"].as_array().unwrap().len(), 5);
    for (number, single) in searches.as_array().unwrap().iter().enumerate() {
        assert_eq!(batch["searches"][number]["results"], search(&client, "words", single).await, "{single}");
    }
    assert_eq!(batch["searches"][0]["results"][0], json!({"id": "49", "score": 49.0, "payload": {"n": 49}}));
    assert_eq!(batch["searches"][1]["results"][0], json!({"id": "bare", "score": 0.0}));
    assert_eq!(
        batch["searches"][2]["results"][0],
        json!({"id": "1", "score": 1.0, "payload": {"n": 1}, "vector": [1.0, 1.0]})
    );
    assert_eq!(batch["searches"][4]["results"], json!([]));
    for (query, expected) in [
        ("", json!({"id": "1", "payload": {"n": 1}})),
        ("?with_payload=false", json!({"id": "1"})),
        ("?with_vector=true", json!({"id": "1", "payload": {"n": 1}, "vector": [1.0, 1.0]})),
        ("?with_vector=true&with_payload=false", json!({"id": "1", "vector": [1.0, 1.0]})),
    ] {
        assert_eq!(client.get(&format!("/collections/words/vectors/1{query}")).await.expect(200), expected);
        let page = client.get(&format!("/collections/words/vectors{query}")).await.expect(200);
        assert_eq!(page["vectors"][0], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_shows_everything_once_in_the_order_of_ids_whatever_is_written_meanwhile() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    let mut expected: Vec<String> = (0..500).map(|number| format!("{:x}", number * 7919 % 4_096)).collect();
    expected.extend(["é", "Z", "a b", "日本", "a/b", "~"].map(str::to_owned));
    put(&client, "words", expected.iter().map(|id| json!({"id": id, "vector": [1]})).collect()).await;
    expected.sort();
    expected.dedup();
    for limit in [1, 7, expected.len() - 1, expected.len(), 1_000] {
        let all = Value::from(pages(&client, "words", limit).await);
        assert_eq!(ids(&all), expected, "{limit} at a time");
    }
    assert_eq!(
        client.get("/collections/words/vectors").await.expect(200)["vectors"].as_array().unwrap().len(),
        100
    );

    // What stays from the first page to the last is shown once; what comes and goes may be or not.
    let path = "/collections/words/vectors?limit=10";
    let mut page = client.get(path).await.expect(200);
    let mut seen: Vec<String> = Vec::new();
    for round in 0.. {
        let shown = ids(&page["vectors"]);
        put(&client, "words", json!([{"id": format!("{}+", shown[0]), "vector": [1]}, {"id": format!("zz{round}"), "vector": [1]}])).await;
        client
            .delete(&format!("/collections/words/vectors/{}", shown[shown.len() / 2].replace('/', "%2F")))
            .await
            .expect(200);
        seen.extend(shown.into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        // The cursor's own vector may be gone.
        client
            .delete(&format!("/collections/words/vectors/{}", seen.last().unwrap().replace('/', "%2F")))
            .await;
        page = client.get(&format!("{path}&cursor={cursor}")).await.expect(200);
        assert!(round < 200, "paging does not end");
    }
    assert!(seen.is_sorted());
    let distinct: HashSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
    assert!(expected.iter().all(|id| distinct.contains(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_replaces_a_patch_merges_and_a_deletion_takes_what_it_names() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    let path = "/collections/words/vectors/a";
    let get = async || client.get(&format!("{path}?with_vector=true")).await.expect(200);
    let patch = async |patch: Value| {
        let request = client.request(Method::PATCH, &format!("{path}/payload")).json(&patch);
        client.send(request.header("content-type", "application/merge-patch+json")).await.expect(200)
    };
    put(
        &client,
        "words",
        json!([{"id": "a", "vector": [1], "payload": {"old": 1, "kept": {"x": 1, "y": [1, 2]}}}]),
    )
    .await;
    assert_eq!(
        patch(json!({"old": null, "new": "n", "kept": {"x": {"deep": null}, "y": [3], "z": null}})).await,
        json!({"seq": 3})
    );
    assert_eq!(
        get().await,
        json!({"id": "a", "payload": {"new": "n", "kept": {"x": {}, "y": [3]}}, "vector": [1.0]})
    );
    assert_eq!(patch(json!({"never": null})).await, json!({"seq": 4}));
    assert_eq!(get().await["payload"], json!({"new": "n", "kept": {"x": {}, "y": [3]}}));
    // The payload that a search and a filter see is the patched one.
    let filter = json!({"filter": {"must": [{"key": "new", "match": {"value": "n"}}]}});
    assert_eq!(client.post("/collections/words/count", &filter).await.expect(200)["count"], 1);
    // A write without payload leaves none.
    put(&client, "words", json!([{"id": "a", "vector": [2]}])).await;
    assert_eq!(get().await, json!({"id": "a", "vector": [2.0]}));
    assert_eq!(client.post("/collections/words/count", &filter).await.expect(200)["count"], 0);
    patch(json!({"from": "nothing"})).await;
    assert_eq!(get().await["payload"], json!({"from": "nothing"}));

    let point = |number: u32| json!({"id": number.to_string(), "vector": [number], "payload": {"n": number, "tags": ["t", format!("t{}", number % 3)]}});
    put(&client, "words", (0..30).map(point).collect()).await;
    let delete =
        async |body: Value| client.post("/collections/words/vectors/delete", &body).await.expect(200);
    let head = client.head().await;
    assert_eq!(
        delete(json!({"ids": ["never", "not-there"]})).await,
        json!({"seq": head["seq"], "deleted": 0})
    );
    assert_eq!(delete(json!({"ids": []})).await, json!({"seq": head["seq"], "deleted": 0}));
    assert_eq!(client.head().await, head, "nothing to do leaves no trace");
    assert_eq!(delete(json!({"ids": ["1", "never", "2"]})).await["deleted"], 2);
    let filter = json!({"must": [{"key": "tags", "match": {"value": "t0"}}], "must_not": [{"key": "n", "range": {"gte": 15}}]});
    assert_eq!(delete(json!({ "filter": filter })).await["deleted"], 5);
    let left: Vec<String> = (0..30_u32)
        .filter(|n| ![1, 2].contains(n) && (n % 3 != 0 || *n >= 15))
        .map(|n| n.to_string())
        .collect();
    let all = Value::from(pages(&client, "words", 10).await);
    let mut found = ids(&all);
    assert_eq!(found.pop(), Some("a"));
    assert_eq!(
        found.iter().collect::<HashSet<_>>(),
        left.iter().map(String::as_str).collect::<Vec<_>>().iter().collect()
    );
    assert_eq!(delete(json!({"all": true})).await["deleted"], left.len() + 1);
    assert_eq!(count(&client, "words").await, 0);
    // Deleting a collection frees its name, and nothing of it comes back.
    put(&client, "words", json!([{"id": "a", "vector": [2]}])).await;
    let deleted = client.delete("/collections/words").await.expect(200);
    assert_eq!(deleted["vectors_deleted"], 1);
    client.get("/collections/words").await.expect(404);
    client.create("words", 2, "cosine").await;
    assert_eq!(count(&client, "words").await, 0);
    client.get(path).await.expect(404);
    let taken = client.post("/collections", &json!({"name": "words", "dimension": 2, "metric": "dot"})).await;
    assert_eq!((taken.status.as_u16(), taken.problem()), (409, "collection-exists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_patches_to_one_payload_none_is_lost() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    put(&client, "words", json!([{"id": "a", "vector": [1], "payload": {"first": true}}])).await;
    let path = "/collections/words/vectors/a";
    let patch = |number: u32| {
        let patch = json!({format!("by-{number}"): number, "nested": {format!("by-{number}"): number}});
        client.send(client.request(Method::PATCH, &format!("{path}/payload")).json(&patch))
    };
    for answer in join_all((0..64).map(patch)).await {
        answer.expect(200);
    }
    let payload = client.get(path).await.expect(200)["payload"].clone();
    assert_eq!(payload["first"], true);
    for number in 0..64_u32 {
        let name = format!("by-{number}");
        assert_eq!((&payload[&name], &payload["nested"][&name]), (&json!(number), &json!(number)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_id_can_be_reached_by_its_path() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    client.create("words", 1, "dot").await;
    for id in [
        "delete", "search", "payload", "a/b", "/", "%", "%2F", "a?b=c#d", " ", "é", "日本", "+", "..", ".",
        "a\\b", "\"", "\u{200b}", "\u{feff}",
    ] {
        put(&client, "words", json!([{"id": id, "vector": [1]}])).await;
        let encoded: String = id
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
        let ask = |method: &str, rest: &str, body: &str| {
            let path = format!("/api/v1/collections/words/vectors/{encoded}{rest}");
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                node.authority(),
                body.len()
            );
            node.raw(head.as_bytes())
        };
        assert_eq!(ask("GET", "", "").expect(200), json!({"id": id}), "{id:?}");
        ask("PATCH", "/payload", r#"{"n":1}"#).expect(200);
        assert_eq!(ask("GET", "", "").expect(200), json!({"id": id, "payload": {"n": 1}}), "{id:?}");
        assert_eq!(ask("DELETE", "", "").expect(200)["deleted"], 1, "{id:?}");
        ask("GET", "", "").expect(404);
    }
}
