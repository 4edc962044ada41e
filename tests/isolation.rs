//! A tenant is a value, not a parameter: nothing of one tenant means anything to another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::Operation;
use vectorizer_rest::location;

use crate::support::node::{ACME, Answer, Client, GLOBEX, Node};

/// The ids of a page or of results.
fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|point| point["id"].as_str().unwrap()).collect()
}

/// `words` with vectors `from..to`, all marked as this tenant's.
async fn fill(client: &Client, mark: &str, range: std::ops::Range<u32>) {
    client.create("words", 2, "euclidean").await;
    let vectors: Vec<Value> = range
        .map(
            |number| json!({"id": format!("id-{number:03}"), "vector": [number, 1], "payload": {"of": mark}}),
        )
        .collect();
    client.put("/collections/words/vectors", &json!({"vectors": vectors})).await.expect(200);
}

async fn page(client: &Client, query: &str) -> Value {
    client.get(&format!("/collections/words/vectors{query}")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_of_one_name_are_two_and_nothing_crosses_between_them() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (acme, globex) = (node.client(ACME), node.client(GLOBEX));
    fill(&acme, "mark-of-acme", 0..50).await;
    fill(&globex, "mark-of-globex", 25..60).await;

    for (client, own, foreign, expected) in [
        (&acme, "mark-of-acme", "mark-of-globex", 0..50),
        (&globex, "mark-of-globex", "mark-of-acme", 25..60),
    ] {
        let search = json!({"vector": [0, 0], "limit": 1_000, "with_vector": true});
        let filter = json!({"filter": {"must": [{"key": "of", "match": {"value": foreign}}]}});
        let batch = json!({"searches": [search, search]});
        let everything = [
            client.get("/collections").await.expect(200),
            client.get("/collections/words").await.expect(200),
            page(client, "?limit=1000&with_vector=true").await,
            client.post("/collections/words/search", &search).await.expect(200),
            client.post("/collections/words/search/batch", &batch).await.expect(200),
            json!(client.log("?with_vector=true&with_stored=true").await),
        ];
        for answer in &everything {
            assert!(!answer.to_string().contains(foreign), "{answer}");
        }
        let expected: Vec<String> = expected.map(|number| format!("id-{number:03}")).collect();
        assert_eq!(ids(&everything[2]["vectors"]), expected);
        assert_eq!(ids(&everything[3]["results"]).len(), expected.len());
        assert!(everything[2].to_string().contains(own));
        assert_eq!(everything[1]["count"], expected.len());
        assert_eq!(client.post("/collections/words/count", &filter).await.expect(200), json!({"count": 0}));
        let deleted = client.post("/collections/words/vectors/delete", &filter).await.expect(200);
        assert_eq!(deleted["deleted"], 0);
    }

    // What one deletes stays with the other.
    let before = page(&globex, "?limit=1000").await;
    acme.delete("/collections/words/vectors/id-030").await.expect(200);
    acme.post("/collections/words/vectors/delete", &json!({"all": true})).await.expect(200);
    acme.delete("/collections/words").await.expect(200);
    assert_eq!(page(&globex, "?limit=1000").await, before);
    assert_eq!(acme.get("/collections").await.expect(200), json!({"collections": []}));
    assert_eq!(globex.post("/collections/words/count", &json!({})).await.expect(200)["count"], 35);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_pages_through_the_data_of_its_user_only() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (acme, globex) = (node.client(ACME), node.client(GLOBEX));
    fill(&acme, "acme", 0..50).await;
    fill(&globex, "globex", 25..60).await;
    let first = page(&acme, "?limit=30").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let theirs = page(&globex, &format!("?limit=100&cursor={cursor}")).await;
    let expected: Vec<String> = (30..60).map(|number| format!("id-{number:03}")).collect();
    assert_eq!(ids(&theirs["vectors"]), expected);
    assert!(theirs["vectors"].as_array().unwrap().iter().all(|point| point["payload"]["of"] == "globex"));
    // A made-up cursor is as harmless, and may name an unknown id.
    let made_up = URL_SAFE_NO_PAD.encode("id-029x");
    assert_eq!(page(&globex, &format!("?limit=100&cursor={made_up}")).await, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_seqs_and_idempotency_keys_are_each_tenants_own() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (acme, globex) = (node.client(ACME), node.client(GLOBEX));
    fill(&acme, "acme", 0..3).await;
    fill(&globex, "globex", 0..3).await;
    for number in 0..5 {
        let body = json!({"vectors": [{"id": "more", "vector": [number, 1]}]});
        acme.put("/collections/words/vectors", &body).await.expect(200);
    }

    // The same request under the same key: each tenant's is done, neither is a repetition.
    let body = json!({"vectors": [{"id": "by-key", "vector": [5, 5]}]});
    for (client, seq) in [(&acme, 8), (&globex, 3)] {
        let request = client.request(Method::PUT, "/collections/words/vectors").json(&body);
        let answer = client.send(request.header("idempotency-key", "the-same")).await;
        assert!(!answer.headers.contains_key("idempotency-replayed"));
        assert_eq!(answer.expect(200), json!({"seq": seq, "upserted": 1}));
        client.get("/collections/words/vectors/by-key").await.expect(200);
    }
    // Nor is another request under the other's key refused.
    let other = json!({"vectors": [{"id": "other", "vector": [6, 6]}]});
    let request = acme.request(Method::PUT, "/collections/words/vectors").json(&other);
    acme.send(request.header("idempotency-key", "of-acme")).await.expect(200);
    let request = globex.request(Method::PUT, "/collections/words/vectors").json(&body);
    globex.send(request.header("idempotency-key", "of-acme")).await.expect(200);

    // A seq of one is no precondition for the other.
    let of_acme = acme.get("/collections/words").await.headers["etag"].clone();
    let of_globex = globex.get("/collections/words").await.headers["etag"].clone();
    assert_ne!(of_acme, of_globex);
    let request = globex.request(Method::PUT, "/collections/words/vectors").json(&other);
    let answer = globex.send(request.header("if-match", of_acme)).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (412, "precondition-failed"));

    let (ours, theirs) = (acme.log("").await, globex.log("").await);
    for (log, key) in [(&ours, ACME), (&theirs, GLOBEX)] {
        let seqs: Vec<u64> = log.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>());
        assert!(log.iter().all(|line| line["log_id"] == log[0]["log_id"]));
        let key_id = node.key(key).split('_').nth(2).unwrap().to_owned();
        assert!(log.iter().all(|line| line["actor"] == json!({"key_id": key_id, "via": "rest"})), "{log:?}");
    }
    assert_eq!((ours.len(), theirs.len()), (9, 4));
    assert_ne!(ours[0]["log_id"], theirs[0]["log_id"]);
    assert_ne!(acme.head().await["chain"], globex.head().await["chain"]);
}

/// All of an answer that may tell something, `name` taken out.
fn shown(answer: &Answer, name: &str) -> (u16, Vec<(String, String)>, String) {
    let headers =
        answer.headers.iter().filter(|(header, _)| !["x-request-id", "date"].contains(&header.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(header, value)| (header.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    (answer.status.as_u16(), headers, body.to_string().replace(name, "<name>"))
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_tenant_answers_exactly_like_data_that_does_not_exist() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (acme, globex) = (node.client(ACME), node.client(GLOBEX));
    fill(&acme, "acme", 0..3).await;
    fill(&globex, "globex", 0..1).await;
    acme.create("secret", 2, "dot").await;
    let theirs = json!({"vectors": [{"id": "hidden", "vector": [1, 1]}]});
    acme.put("/collections/secret/vectors", &theirs).await.expect(200);
    acme.put("/collections/words/vectors", &theirs).await.expect(200);

    let good = json!({"vectors": [{"id": "a", "vector": [1, 1]}]});
    let wrong = json!({"vectors": [{"id": "a", "vector": [1, 1, 1]}]});
    let search = json!({"vector": [1, 1]});
    let in_collection = [
        (Method::GET, "", json!({})),
        (Method::DELETE, "", json!({})),
        (Method::GET, "/vectors", json!({})),
        (Method::GET, "/vectors?cursor=YQ&limit=5", json!({})),
        (Method::PUT, "/vectors", good),
        (Method::PUT, "/vectors", wrong),
        (Method::GET, "/vectors/hidden", json!({})),
        (Method::DELETE, "/vectors/hidden", json!({})),
        (Method::PATCH, "/vectors/hidden/payload", json!({"a": 1})),
        (Method::POST, "/vectors/delete", json!({"ids": ["hidden"]})),
        (Method::POST, "/vectors/delete", json!({"all": true})),
        (Method::POST, "/search", search.clone()),
        (Method::POST, "/search", json!({"vector": [1]})),
        (Method::POST, "/search/batch", json!({"searches": [search]})),
        (Method::POST, "/count", json!({})),
        (Method::GET, "/indexes", Value::Null),
        (Method::PUT, "/indexes/a", Value::Null),
        (Method::DELETE, "/indexes/a", Value::Null),
    ];
    let of_vector = [
        (Method::GET, "", json!({})),
        (Method::DELETE, "", json!({})),
        (Method::PATCH, "/payload", json!({"a": 1})),
    ];
    let cases: Vec<_> = in_collection
        .into_iter()
        .map(|case| ("/collections/", "secret", case))
        .chain(of_vector.into_iter().map(|case| ("/collections/words/vectors/", "hidden", case)))
        .collect();
    // Whatever names a collection is among them, a new operation too.
    for operation in Operation::ALL {
        let (method, template) = location(operation);
        let is_it = |(base, name, (by, rest, _)): &(&str, &str, (Method, &str, Value))| {
            let path = format!("/api/v1{base}{name}{rest}");
            let path = path.split('?').next().unwrap();
            let (path, template): (Vec<_>, Vec<_>) =
                (path.split('/').collect(), template.split('/').collect());
            let fits = |(wanted, part): (&&str, &&str)| wanted.starts_with('{') || wanted == part;
            *by == method && path.len() == template.len() && template.iter().zip(&path).all(fits)
        };
        assert!(!template.contains("{name}") || cases.iter().any(is_it), "{operation:?} is not tried");
    }
    for (base, present, (method, rest, body)) in cases {
        // An unused name of the same length.
        let absent = "absent";
        for if_match in [None, Some("*"), Some("\"1\""), Some("\"5\"")] {
            let ask = async |name: &str| {
                let mut request = globex.request(method.clone(), &format!("{base}{name}{rest}"));
                if !body.is_null() {
                    request = request.json(&body);
                }
                if let Some(tag) = if_match {
                    request = request.header("if-match", tag);
                }
                shown(&globex.send(request).await, name)
            };
            let (of_present, of_absent) = (ask(present).await, ask(absent).await);
            assert_eq!(of_present, of_absent, "{method} {base}{present}{rest} {if_match:?}");
            assert!([404, 412].contains(&of_present.0), "{method} {base}{present}{rest}: {of_present:?}");
        }
    }
    // A name that is taken elsewhere is free here.
    globex.create("secret", 7, "cosine").await;
    assert_eq!(acme.get("/collections/secret").await.expect(200)["dimension"], 2);
    assert_eq!(globex.get("/collections/secret").await.expect(200)["count"], 0);
}
