//! Texts are kept as they are, found by their words, counted to the byte, and nobody else's.

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::hub_and_node::Cluster;
use crate::support::limits::limits;
use crate::support::node::{ACME, Client, GLOBEX, Key, Node, vectorizer};

const NOTES: &str = "/collections/notes/vectors";
const SEARCH: &str = "/collections/notes/search";

async fn create(client: &Client, body: Value) {
    client.post("/collections", &body).await.expect(201);
}

/// A collection of texts only, with some.
async fn notes(client: &Client) {
    create(client, json!({"name": "notes", "text": true})).await;
    let notes = json!({"vectors": [
        {"id": "apple", "text": "An apple a day keeps the doctor away", "payload": {"kind": "proverb"}},
        {"id": "pie", "text": "Apple pie: apples, butter, apples", "payload": {"kind": "recipe"}},
        {"id": "cafe", "text": "CAFÉ — the doctor's favourite", "payload": {"kind": "place"}},
        {"id": "odd", "text": "\u{0}\n\u{1b}[31m東京 🙂"},
    ]});
    client.put(NOTES, &notes).await.expect(200);
}

async fn found(client: &Client, body: Value) -> Vec<String> {
    let results = client.post(SEARCH, &body).await.expect(200)["results"].clone();
    results.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_found_by_their_words_and_come_back_as_they_were() {
    let data = TempDir::new().unwrap();
    let mut before = Value::Null;
    // In one life and the next.
    for life in 0..2 {
        let node = Node::serve(data.path());
        let client = node.keyless();
        if life == 0 {
            notes(&client).await;
            before = client.get(&format!("{NOTES}?limit=100")).await.expect(200);
            assert_eq!(before["vectors"][1]["text"], "CAFÉ — the doctor's favourite");
        }
        assert_eq!(client.get(&format!("{NOTES}?limit=100")).await.expect(200), before);
        let facts = client.get("/collections/notes").await.expect(200);
        assert_eq!(
            (&facts["dimension"], &facts["text"], &facts["count"]),
            (&Value::Null, &json!(true), &json!(4))
        );
        assert_eq!(found(&client, json!({"text": "apple"})).await, ["pie", "apple"]);
        assert_eq!(found(&client, json!({"text": "APPLES"})).await, ["pie"]);
        assert_eq!(found(&client, json!({"text": "cafe"})).await, ["cafe"]);
        assert_eq!(found(&client, json!({"text": "東"})).await, ["odd"]);
        assert_eq!(found(&client, json!({"text": "nobody wrote so"})).await, Vec::<String>::new());
        let recipe = json!({"must": {"key": "kind", "match": {"value": "recipe"}}});
        assert_eq!(found(&client, json!({"text": "doctor", "filter": recipe})).await, Vec::<String>::new());
        assert_eq!(found(&client, json!({"text": "apple", "filter": recipe})).await, ["pie"]);
        let odd = client.get(&format!("{NOTES}/odd")).await.expect(200);
        assert_eq!(odd, json!({"id": "odd", "text": "\u{0}\n\u{1b}[31m東京 🙂"}));
        assert_eq!(
            client.get(&format!("{NOTES}/odd?with_text=false")).await.expect(200),
            json!({"id": "odd"})
        );
        let shown = client.post(SEARCH, &json!({"text": "東", "with_text": false})).await.expect(200);
        assert!(shown["results"][0].get("text").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_or_deleted_text_is_not_found_and_a_new_payload_leaves_it_alone() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    notes(&client).await;
    let again = json!({"vectors": [{"id": "apple", "text": "pears"}]});
    client.put(NOTES, &again).await.expect(200);
    assert_eq!(found(&client, json!({"text": "apple"})).await, ["pie"]);
    assert_eq!(found(&client, json!({"text": "pears"})).await, ["apple"]);
    let patch = client.request(Method::PATCH, &format!("{NOTES}/apple/payload")).json(&json!({"n": 1}));
    client.send(patch).await.expect(200);
    let apple = client.get(&format!("{NOTES}/apple")).await.expect(200);
    assert_eq!(apple, json!({"id": "apple", "text": "pears", "payload": {"n": 1}}));
    assert_eq!(found(&client, json!({"text": "pears"})).await, ["apple"]);
    client.delete(&format!("{NOTES}/apple")).await.expect(200);
    let filter = json!({"filter": {"must": {"key": "kind", "match": {"value": "recipe"}}}});
    assert_eq!(client.post(&format!("{NOTES}/delete"), &filter).await.expect(200)["deleted"], 1);
    assert_eq!(found(&client, json!({"text": "pears apple"})).await, Vec::<String>::new());
    assert_eq!(client.post("/collections/notes/count", &json!({})).await.expect(200)["count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_and_vectors_together_are_one_ranking() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    create(&client, json!({"name": "notes", "dimension": 2, "metric": "euclidean", "text": true})).await;
    let points = json!({"vectors": [
        {"id": "near", "vector": [0, 0]},
        {"id": "both", "vector": [1, 0], "text": "apple pie"},
        {"id": "word", "vector": [9, 9], "text": "apple apple"},
        {"id": "far", "vector": [5, 5], "text": "pears"},
    ]});
    client.put(NOTES, &points).await.expect(200);
    assert_eq!(found(&client, json!({"vector": [0, 0], "limit": 2})).await, ["near", "both"]);
    assert_eq!(found(&client, json!({"text": "apple"})).await, ["word", "both"]);
    let both = json!({"vector": [0, 0], "text": "apple"});
    let fused = client.post(SEARCH, &both).await.expect(200);
    let score = |place: usize| fused["results"][place]["score"].as_f64().unwrap();
    assert_eq!(found(&client, both.clone()).await, ["both", "word", "near", "far"]);
    assert!((score(0) - 2.0 / 62.0).abs() < 1e-6 && (score(2) - 1.0 / 61.0).abs() < 1e-6, "{fused}");
    let least = json!({"vector": [0, 0], "text": "apple", "score_threshold": 0.03});
    assert_eq!(found(&client, least).await, ["both", "word"]);
    // Each of a batch as if it were alone.
    let searches =
        json!({"searches": [both, {"text": "pears"}, {"vector": [9, 9], "limit": 1, "exact": true}]});
    let batch = client.post("/collections/notes/search/batch", &searches).await.expect(200);
    assert_eq!(batch["searches"][0], fused);
    assert_eq!(batch["searches"][1]["results"][0]["id"], "far");
    assert_eq!(batch["searches"][2]["results"][0]["id"], "word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_question_searches_by_its_rarest_words_and_keeps_its_vector() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    create(&client, json!({"name": "notes", "dimension": 2, "metric": "euclidean", "text": true})).await;
    let common = (0..600).map(|word| format!("common{word}")).collect::<Vec<_>>().join(" ");
    let mut points: Vec<Value> = (0..20)
        .map(|number| json!({"id": format!("other{number}"), "vector": [9, number], "text": common}))
        .collect();
    points.push(json!({"id": "invoice", "vector": [5, 5], "text": "overdue invoice reminder"}));
    points.push(json!({"id": "near", "vector": [0, 0], "text": "nothing"}));
    points.push(json!({"id": "chinese", "vector": [6, 6], "text": "我住在北京市"}));
    client.put(NOTES, &json!({"vectors": points})).await.expect(200);
    let nonsense =
        |words: usize| (0..words).map(|word| format!("nonsense{word}")).collect::<Vec<_>>().join(" ");
    let chinese: String = ('\u{4e00}'..'\u{5200}').chain("北京".chars()).collect();
    for (question, best) in [
        (format!("{} invoice", nonsense(1_500)), "invoice"),
        (format!("invoice {}", nonsense(100_000)), "invoice"),
        ("invoice ".repeat(2_000), "invoice"),
        (chinese, "chinese"),
    ] {
        let results = found(&client, json!({"text": question, "limit": 1})).await;
        assert_eq!(results, [best], "{} bytes", question.len());
        let results = found(&client, json!({"text": question, "vector": [0, 0], "limit": 2})).await;
        assert!(results.contains(&"near".to_owned()) && results.contains(&best.to_owned()), "{results:?}");
    }
    // Of more words than are looked for, those that the fewest records have are among them.
    let results = found(&client, json!({"text": format!("{common} invoice"), "limit": 100})).await;
    assert!(results.contains(&"invoice".to_owned()), "{results:?}");
    // A text without a word still has a vector beside it.
    let results = found(&client, json!({"text": "?!", "vector": [0, 0], "limit": 1})).await;
    assert_eq!(results, ["near"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_results_of_words_and_vectors_together_do_not_depend_on_the_limit() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    create(&client, json!({"name": "notes", "dimension": 2, "metric": "cosine", "text": true})).await;
    // By words and by vectors in orders that have nothing to do with each other.
    let points: Vec<Value> = (0..1_500_u32)
        .map(|number| {
            let words = "apple ".repeat(1 + (number * 7 % 13) as usize) + &"pear ".repeat((number * 11 % 17) as usize);
            json!({"id": format!("p{number:04}"), "vector": [number * 37 % 1_499, 1 + number * 91 % 1_493], "text": words})
        })
        .collect();
    client.put(NOTES, &json!({"vectors": points})).await.expect(200);
    for (question, vector) in [("apple", [1, 1]), ("pear apple", [3, 1]), ("pear", [1, 9])] {
        let body =
            |limit: u32| json!({"text": question, "vector": vector, "limit": limit, "with_text": false});
        let whole = client.post(SEARCH, &body(1_000)).await.expect(200)["results"].clone();
        let whole = whole.as_array().unwrap();
        assert_eq!(whole.len(), 1_000);
        assert!(whole.is_sorted_by(|one, next| one["score"].as_f64() >= next["score"].as_f64()));
        for limit in [1, 10, 50, 100, 101, 150, 200, 300, 999] {
            let part = client.post(SEARCH, &body(limit)).await.expect(200)["results"].clone();
            assert_eq!(part.as_array().unwrap()[..], whole[..limit as usize], "{question} {limit}");
        }
        // A threshold takes away the end and nothing else.
        let least = whole[400]["score"].clone();
        let mut body = body(1_000);
        body["score_threshold"] = least.clone();
        let part = client.post(SEARCH, &body).await.expect(200)["results"].clone();
        let reaching = whole.iter().take_while(|hit| hit["score"].as_f64() >= least.as_f64()).count();
        assert_eq!(part.as_array().unwrap()[..], whole[..reaching]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_in_a_language_finds_words_in_their_forms_in_every_life() {
    let data = TempDir::new().unwrap();
    for life in 0..2 {
        let node = Node::serve(data.path());
        let client = node.keyless();
        if life == 0 {
            create(&client, json!({"name": "notes", "text": {"language": "en"}})).await;
            create(&client, json!({"name": "plain", "text": {}})).await;
            let points = json!({"vectors": [
                {"id": "many", "text": "The companies\u{2019} invoices"},
                {"id": "other", "text": "the report of the year"},
                {"id": "hamlet", "text": "to be or not to be"},
            ]});
            for collection in ["notes", "plain"] {
                client.put(&format!("/collections/{collection}/vectors"), &points).await.expect(200);
            }
        }
        for (collection, language) in [("notes", json!("en")), ("plain", Value::Null)] {
            let facts = client.get(&format!("/collections/{collection}")).await.expect(200);
            assert_eq!((&facts["text"], &facts["language"]), (&json!(true), &language));
        }
        assert_eq!(found(&client, json!({"text": "the invoice of a company"})).await, ["many"]);
        assert_eq!(found(&client, json!({"text": "to be"})).await, ["hamlet"]);
        let plain = client.post("/collections/plain/search", &json!({"text": "invoice"})).await.expect(200);
        assert_eq!(plain["results"], json!([]));
        // Also when everything has moved.
        if life == 0 {
            let more: Vec<Value> =
                (0..500).map(|number| json!({"id": format!("n{number}"), "text": "running"})).collect();
            client.put(NOTES, &json!({"vectors": more})).await.expect(200);
            let ids: Vec<String> = (0..500).map(|number| format!("n{number}")).collect();
            client.post(&format!("{NOTES}/delete"), &json!({"ids": ids})).await.expect(200);
            assert_eq!(found(&client, json!({"text": "runs"})).await, Vec::<String>::new());
            let created = &client.log("").await[0]["event"];
            assert_eq!(
                *created,
                json!({"type": "text_collection_created", "name": "notes", "vectors": null, "language": "en"})
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_as_people_type_them_and_others_are_not() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    create(&client, json!({"name": "notes", "text": true})).await;
    let texts = [
        ("apostrophe", "We don\u{2019}t ship on Sundays"),
        ("name", "Contract with O\u{2019}Neill"),
        ("french", "Bienvenue à l'école"),
        ("pdf", "inter\u{ad}natio\u{ad}nal law"),
        ("arabic", "مُحَمَّد"),
        ("hebrew", "שָׁלוֹם"),
        ("file", "see report.pdf"),
        ("usa", "made in the U.S.A."),
        ("emoji", "great product 👍"),
        ("korean", "학교에서 공부한다"),
        ("chinese", "我住在北京市"),
    ];
    let points: Vec<Value> = texts.iter().map(|(id, text)| json!({"id": id, "text": text})).collect();
    client.put(NOTES, &json!({"vectors": points})).await.expect(200);
    for (question, expected) in [
        ("don't", vec!["apostrophe"]),
        ("O'Neill", vec!["name"]),
        ("école", vec!["french"]),
        ("international", vec!["pdf"]),
        ("محمد", vec!["arabic"]),
        ("שלום", vec!["hebrew"]),
        ("report", vec!["file"]),
        ("USA", vec!["usa"]),
        ("👍", vec!["emoji"]),
        ("학교", vec!["korean"]),
        ("北京", vec!["chinese"]),
        ("can't", vec![]),
        ("南京", vec![]),
        ("👎", vec![]),
    ] {
        assert_eq!(found(&client, json!({"text": question})).await, expected, "{question}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_a_collection_with_or_without_texts_is_refused_whole() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    notes(&client).await;
    create(&client, json!({"name": "both", "dimension": 2, "metric": "dot", "text": true})).await;
    client.create("plain", 2, "dot").await;
    let before = client.data_seq().await;
    let long = "a".repeat(64 * 1024 + 1);
    for (collection, point, status, code, says) in [
        ("plain", json!({"id": "x", "vector": [1, 2], "text": "t"}), 422, "text-unexpected", "text: \"x\""),
        ("plain", json!({"id": "x"}), 422, "vector-missing", "vector: \"x\""),
        ("both", json!({"id": "x", "text": "t"}), 422, "vector-missing", "dimension 2"),
        ("both", json!({"id": "x", "vector": [1], "text": "t"}), 422, "wrong-dimension", "dimension 1"),
        (
            "notes",
            json!({"id": "x", "vector": [1, 2], "text": "t"}),
            422,
            "vector-unexpected",
            "vector: \"x\"",
        ),
        ("notes", json!({"id": "x"}), 422, "text-missing", "text: \"x\""),
        ("notes", json!({"id": "x", "text": null}), 422, "invalid-body", "null"),
        ("notes", json!({"id": "x", "text": ""}), 422, "invalid-text", "empty"),
        ("notes", json!({"id": "x", "text": 5}), 422, "invalid-body", "text"),
        ("notes", json!({"id": "x", "text": long}), 413, "text-too-large", "65537"),
    ] {
        let body = json!({"vectors": [{"id": "good", "text": "t"}, point]});
        let body = if collection == "notes" { body } else { json!({"vectors": [body["vectors"][1]]}) };
        let answer = client.put(&format!("/collections/{collection}/vectors"), &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (status, code),
            "{collection} {}",
            answer.body
        );
        assert!(answer.detail().contains(says), "{}", answer.detail());
    }
    let lone = r#"{"vectors":[{"id":"x","text":"\ud800"}]}"#;
    let lone = client.request(Method::PUT, NOTES).header("content-type", "application/json").body(lone);
    assert_eq!(client.send(lone).await.problem(), "invalid-body");
    for (body, code, says) in [
        (json!({"name": "x"}), "invalid-body", "dimension"),
        (json!({"name": "x", "text": false}), "invalid-body", "dimension"),
        (json!({"name": "x", "text": true, "dimension": 2}), "invalid-body", "metric"),
        (json!({"name": "x", "text": true, "metric": "dot"}), "invalid-body", "dimension"),
        (json!({"name": "x", "text": true, "index": {"m": 8}}), "invalid-index", "index"),
        (json!({"name": "x", "text": "yes"}), "invalid-body", "text"),
        (json!({"name": "x", "text": {"language": "klingon"}}), "invalid-language", "ar, da, nl, en"),
        (json!({"name": "x", "text": {"language": "EN"}}), "invalid-language", "\"EN\""),
        (json!({"name": "x", "text": {"stemming": true}}), "invalid-body", "stemming"),
    ] {
        let answer = client.post("/collections", &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (422, code), "{body}");
        assert!(answer.detail().contains(says), "{}", answer.detail());
    }
    for (collection, body, code, says) in [
        ("notes", json!({}), "nothing-sought", "text"),
        ("notes", json!({"text": " ?! "}), "invalid-text", "no word"),
        ("notes", json!({"vector": [1, 2]}), "vector-unexpected", "vector"),
        ("notes", json!({"vector": [1, 2], "text": "a"}), "vector-unexpected", "vector"),
        ("plain", json!({"text": "a"}), "text-unexpected", "text"),
        ("both", json!({"vector": [1], "text": "a"}), "wrong-dimension", "dimension 1"),
    ] {
        let answer = client.post(&format!("/collections/{collection}/search"), &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (422, code), "{body} {}", answer.body);
        assert!(answer.detail().contains(says), "{}", answer.detail());
        let batch = json!({"searches": [body]});
        let answer = client.post(&format!("/collections/{collection}/search/batch"), &batch).await;
        assert_eq!(answer.problem(), code, "{body}");
    }
    assert_eq!(client.data_seq().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tenant_finds_the_words_of_another() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (acme, globex) = (node.client(ACME), node.client(GLOBEX));
    notes(&acme).await;
    let theirs = globex.post(SEARCH, &json!({"text": "apple"})).await;
    assert_eq!((theirs.status.as_u16(), theirs.problem()), (404, "no-such-collection"));
    create(&globex, json!({"name": "notes", "text": true})).await;
    assert_eq!(found(&globex, json!({"text": "apple"})).await, Vec::<String>::new());
    globex.put(NOTES, &json!({"vectors": [{"id": "mine", "text": "apple"}]})).await.expect(200);
    // Statistics are one's own, too: of one text a word is in every text.
    let score = |hits: Value| hits["results"][0]["score"].as_f64().unwrap();
    let one = score(globex.post(SEARCH, &json!({"text": "apple"})).await.expect(200));
    assert!((one - (1.0 + 0.5 / 1.5_f64).ln()).abs() < 1e-6, "{one}");
    assert_eq!(found(&globex, json!({"text": "apple"})).await, ["mine"]);
    assert_eq!(found(&acme, json!({"text": "apple"})).await, ["pie", "apple"]);
    let reader = node.client(Key::ReadOnly(0));
    assert_eq!(found(&reader, json!({"text": "cafe"})).await, ["cafe"]);
    assert_eq!(reader.put(NOTES, &json!({"vectors": [{"id": "x", "text": "t"}]})).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_counts_its_bytes_to_the_quota_and_to_usage() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &[]).await;
    // A text of ten bytes under an id of one comes to 43.
    cluster.tenant_with("acme", limits(json!({"storage_bytes": 2 * 43, "requests_per_minute": 10_000})));
    let key = cluster.key(Some("acme"), None);
    cluster.send(&key, "POST", "/collections", &json!({"name": "notes", "text": true})).await.expect(201);
    let put = async |id: &str, text: &str| {
        cluster.send(&key, "PUT", NOTES, &json!({"vectors": [{"id": id, "text": text}]})).await
    };
    put("a", "0123456789").await.expect(200);
    assert_eq!(put("b", "0123456789x").await.problem(), "quota-exceeded");
    put("b", "012345678ä").await.expect(429);
    put("b", "01234567ä").await.expect(200);
    let facts = cluster.send(&key, "GET", "/collections/notes", &Value::Null).await.expect(200);
    assert_eq!(facts["bytes"], 86);
    assert_eq!(put("a", "0123456789x").await.status, 429);
    put("a", "short").await.expect(200);
    let facts = cluster.send(&key, "GET", "/collections/notes", &Value::Null).await.expect(200);
    assert_eq!(facts["bytes"], 86 - 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_shows_texts_and_a_repeated_write_is_done_once() {
    let data = TempDir::new().unwrap();
    let node = Node::serve(data.path());
    let client = node.keyless();
    create(&client, json!({"name": "notes", "text": true})).await;
    let body = json!({"vectors": [{"id": "a", "text": "first words"}]});
    let mut seqs = Vec::new();
    for repetition in [false, true] {
        let write = client.request(Method::PUT, NOTES).header("idempotency-key", "once").json(&body);
        let answer = client.send(write).await;
        assert_eq!(answer.headers.contains_key("idempotency-replayed"), repetition);
        seqs.push(answer.expect(200)["seq"].clone());
    }
    assert_eq!(seqs[0], seqs[1]);
    let log = client.log("").await;
    let events: Vec<&Value> = log.iter().map(|line| &line["event"]).collect();
    assert_eq!(*events[0], json!({"type": "text_collection_created", "name": "notes", "vectors": null}));
    assert_eq!(events[1]["documents"], json!([{"id": "a", "text": "first words"}]));
    assert_eq!(events.len(), 2);
    drop(node);
    let folder = data.path().to_str().unwrap();
    let exported = vectorizer(["log", "export", "--data-dir", folder, "--tenant", "default"]);
    assert!(exported.status.success());
    let exported = String::from_utf8(exported.stdout).unwrap();
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, log);
    assert!(vectorizer(["replay", "--data-dir", folder, "--tenant", "default"]).status.success());
}
