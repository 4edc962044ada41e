//! Reports of usage, over the wire.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use vectorizer_hivehub::USAGE_PATH;

use super::stage::{By, LOG, Served, event, lines, outcomes, receipts};

const USAGE: &str = "/api/internal/vectorizer/tenants/acme/usage";

#[tokio::test]
async fn every_event_counts_once_over_resends_and_kills() {
    let served = Served::start();
    let report = lines((1..=700).map(|seq| event("searches", seq, seq)));
    let first = served.report(&report).await;
    assert_eq!(first.len(), 700);
    assert!(outcomes(&first).iter().all(|outcome| *outcome == "accepted"));
    assert_eq!(first[41]["id"], format!("{LOG}:42:searches"), "in their order");
    let again = served.killed_and_started_again();
    for served in [&served, &again] {
        assert!(outcomes(&served.report(&report).await).iter().all(|outcome| *outcome == "duplicate"));
        let totals = served.ok(By::Service, "GET", &format!("{USAGE}/totals"), None).await;
        let expected = json!([{"meter": "searches", "unit": "searches", "events": 700, "value": "245350"}]);
        assert_eq!(totals["totals"], expected);
    }
}

#[tokio::test]
async fn two_reports_of_the_same_events_at_the_same_time_count_once() {
    let served = Served::start();
    let report = lines((1..=600).map(|seq| event("requests", seq, 1)));
    let reports = [(); 4].map(|()| served.report(&report));
    let all = futures_util::future::join_all(reports).await;
    let accepted =
        all.iter().flat_map(|receipts| outcomes(receipts)).filter(|outcome| *outcome == "accepted");
    assert_eq!(accepted.count(), 600);
    assert!(all.iter().flat_map(|receipts| outcomes(receipts)).all(|outcome| outcome != "rejected"));
    let totals = served.ok(By::Service, "GET", &format!("{USAGE}/totals"), None).await;
    assert_eq!(totals["totals"][0]["value"], "600");
}

#[tokio::test]
async fn a_line_that_is_wrong_is_rejected_and_its_neighbours_are_not() {
    let served = Served::start();
    let mut unknown = event("searches", 2, 1);
    unknown["source"] = json!("/vectorizer/tenants/nobody");
    let mut other_unit = event("searches", 2, 1);
    other_unit["data"]["unit"] = json!("bytes");
    let mut changed = event("searches", 1, 1);
    changed["data"]["value"] = json!(2);
    let report = [
        event("searches", 1, 1).to_string(),
        unknown.to_string(),
        other_unit.to_string(),
        String::new(),
        "{".to_owned(),
        format!("{{\"id\": \"mine\", \"more\": \"{}\"}}", "x".repeat(100_000)),
        "{\"id\": \"mine\"}".to_owned(),
        changed.to_string(),
        // The last line needs no line feed.
        event("searches", 2, 1).to_string(),
    ];
    let receipts = served.report(&report.join("\n")).await;
    let expected =
        ["accepted", "rejected", "rejected", "rejected", "rejected", "rejected", "rejected", "accepted"];
    assert_eq!(outcomes(&receipts), expected, "{receipts:#?}");
    assert_eq!(receipts[2]["id"], format!("{LOG}:2:searches"));
    assert_eq!(
        (&receipts[3]["id"], &receipts[4]["id"], &receipts[5]["id"]),
        (&json!(""), &json!(""), &json!("mine"))
    );
    assert!(receipts[4]["reason"].as_str().unwrap().contains("longer than 16384 bytes"));
}

#[tokio::test]
async fn a_deleted_tenants_last_bill_is_taken() {
    let served = Served::start();
    served.ok(By::Operator, "DELETE", "/api/admin/tenants/acme", None).await;
    assert_eq!(outcomes(&served.report(&lines([event("searches", 1, 1)])).await), ["accepted"]);
}

#[tokio::test]
async fn answers_come_while_the_report_is_still_being_sent() {
    let served = Served::start();
    let (send, mut sent) = mpsc::channel::<Bytes>(1);
    let body = stream::poll_fn(move |context| {
        sent.poll_recv(context).map(|chunk| chunk.map(Ok::<_, std::io::Error>))
    });
    let request = served.request(By::Service, "POST", USAGE_PATH).body(reqwest::Body::wrap_stream(body));
    let response = tokio::spawn(request.send());
    let whole = lines([event("searches", 1, 1)]);
    let (half, rest) = whole.split_at(40);
    send.send(half.to_owned().into()).await.unwrap();
    let mut response = response.await.unwrap().unwrap();
    for seq in 1..=3 {
        let line = if seq == 1 { rest.to_owned() } else { lines([event("searches", seq, 1)]) };
        send.send(line.into()).await.unwrap();
        let chunk = tokio::time::timeout(Duration::from_secs(10), response.chunk()).await.unwrap().unwrap();
        let receipt: Value = serde_json::from_slice(&chunk.unwrap()).unwrap();
        assert_eq!(receipt, json!({"id": format!("{LOG}:{seq}:searches"), "outcome": "accepted"}));
    }
    drop(send);
    assert!(response.chunk().await.unwrap().is_none(), "a whole answer ends as one");
}

#[tokio::test]
async fn a_report_that_breaks_off_within_a_line_counts_what_was_whole() {
    let served = Served::start();
    let (first, cut) = (lines([event("searches", 1, 1)]), event("searches", 2, 1).to_string());
    let pieces = vec![Ok(Bytes::from(first)), Ok(Bytes::from(cut)), Err(std::io::Error::other("gone"))];
    let body = reqwest::Body::wrap_stream(stream::iter(pieces));
    let _ = served.request(By::Service, "POST", USAGE_PATH).body(body).send().await;
    let receipts = served.report(&lines([event("searches", 3, 1), event("searches", 2, 1)])).await;
    assert_eq!(outcomes(&receipts), ["accepted", "rejected"], "the event cut in two had been counted");
}

#[tokio::test]
async fn a_long_report_is_answered_whole_to_a_client_that_reads_while_sending() {
    let served = Served::start();
    let chunks = (0..40).map(|chunk| {
        let events = (1..=250).map(|seq| event("requests", chunk * 250 + seq, 1));
        Ok::<_, std::io::Error>(Bytes::from(lines(events)))
    });
    let body = reqwest::Body::wrap_stream(stream::iter(chunks));
    let response = served.request(By::Service, "POST", USAGE_PATH).body(body).send().await.unwrap();
    let receipts = receipts(response).await;
    assert_eq!(receipts.len(), 10_000);
    assert!(outcomes(&receipts).iter().all(|outcome| *outcome == "accepted"));
}

#[tokio::test]
async fn the_ledger_is_read_page_by_page_and_by_what_is_wanted() {
    let served = Served::start();
    let mut events = Vec::new();
    for seq in 1..=150 {
        events.push(event("searches", seq, 1));
        events.push(event("storage_bytes", seq, seq));
    }
    served.report(&lines(events.clone())).await;
    let mut read = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = served.ok(By::Service, "GET", &format!("{USAGE}?limit=70&after={after}"), None).await;
        assert!(page["events"].as_array().unwrap().len() <= 70);
        read.extend(page["events"].as_array().unwrap().clone());
        after = page["next"].clone();
    }
    assert_eq!(read, events);
    let to = "2026-01-02T03:05:20Z";
    for (by, path, query, count) in [
        (By::Service, USAGE, "meter=searches&from_seq=10&to_seq=20".to_owned(), 11),
        (By::Operator, "/api/admin/tenants/acme/usage", format!("to={to}"), 40),
        (By::Operator, "/api/admin/tenants/acme/usage", format!("from={to}"), 260),
        (By::Service, USAGE, format!("log_id={LOG}&meter=storage_bytes"), 150),
        (By::Service, USAGE, "log_id=7f9619ff-8b86-4d01-b42d-00cf4fc964ff".to_owned(), 0),
        (By::Service, "/api/internal/vectorizer/tenants/globex/usage", String::new(), 0),
    ] {
        let page = served.ok(by, "GET", &format!("{path}?{query}"), None).await;
        assert_eq!(page["events"].as_array().unwrap().len(), count, "{query}");
        let totals = served.ok(by, "GET", &format!("{path}/totals?{query}"), None).await;
        let counted = totals["totals"].as_array().unwrap().iter().map(|one| one["events"].as_u64().unwrap());
        assert_eq!(counted.sum::<u64>(), count as u64, "{query}");
    }
    let part =
        served.ok(By::Service, "GET", &format!("{USAGE}/totals?to_seq=40&meter=storage_bytes"), None).await;
    assert_eq!(part["totals"][0]["value"], "40", "a reading is not a sum");
}
