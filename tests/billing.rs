//! The bill is right to the unit, whatever fails.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer::auth::ApiKey;
use vectorizer::hivehub::UsageEvent;
use vectorizer::hub::{Hub, UsageFilter};
use vectorizer_log::{
    Actor, ChainHash, CollectionId, Draft, Event, IndexParameters, Meter, Metric, Point, PointId, Seq,
    TenantFolder, TenantId, Timestamp, Vector, Via,
};
use vectorizer_replay::{Bill, BillEntry, Projection, Projector as _};

use crate::hub_and_node::{Cluster, Mood};
use crate::node::Answer;

/// Windows of a second, and nobody asks too often.
const FLAGS: [&str; 6] = [
    "--usage-report-interval",
    "1",
    "--default-requests-per-minute",
    "1000000",
    "--default-requests-per-hour",
    "1000000",
];
/// The same, with windows that do not end.
const QUIET: [&str; 6] = [
    "--usage-report-interval",
    "3600",
    "--default-requests-per-minute",
    "1000000",
    "--default-requests-per-hour",
    "1000000",
];
/// What a crash may cost of what was read: a second, and what a busy machine takes to write it down.
const LOST_BY_A_CRASH: Duration = Duration::from_millis(2_500);

/// A line of a bill, without what every line of one window has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    through: Seq,
    meter: Meter,
    value: u128,
    first_seq: Seq,
    window: (Timestamp, Timestamp),
    chain: String,
}

/// A tenant, and what the test itself did for it.
struct Customer {
    name: &'static str,
    key: ApiKey,
    ids: HashSet<usize>,
    next: usize,
    upserted: u128,
    deleted: u128,
    /// When each request was answered, and how many searches were in it.
    asked: Vec<(Instant, u64)>,
}

impl Customer {
    fn new(cluster: &Cluster, name: &'static str) -> Self {
        cluster.tenant(name);
        let key = cluster.key(Some(name), None);
        let (ids, asked) = (HashSet::new(), Vec::new());
        Self { name, key, ids, next: 0, upserted: 0, deleted: 0, asked }
    }

    async fn ask(&mut self, cluster: &Cluster, method: &str, path: &str, body: &Value) -> Answer {
        let answer = cluster.send(&self.key, method, path, body).await;
        let searches = match path.rsplit('/').next() {
            Some("search") => 1,
            Some("batch") => body["searches"].as_array().unwrap().len() as u64,
            _ => 0,
        };
        let was_let_in = !["keys-unavailable", "limits-unavailable"]
            .iter()
            .any(|code| answer.body["type"] == format!("urn:vectorizer:problem:{code}"));
        if was_let_in {
            self.asked.push((Instant::now(), if answer.status.is_success() { searches } else { 0 }));
        }
        answer
    }

    async fn create(&mut self, cluster: &Cluster) {
        let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
        self.ask(cluster, "POST", "/collections", &words).await.expect(201);
    }

    /// Something of what customers do; `false` if the node could not let it in.
    async fn act(&mut self, cluster: &Cluster, random: &mut Random) -> bool {
        const WORDS: &str = "/collections/words";
        let search = json!({"vector": [1, 2]});
        let answer = match random.below(5) {
            0 | 1 => {
                let ids: Vec<usize> = (self.next..).take(1 + random.below(5)).collect();
                let points: Vec<Value> =
                    ids.iter().map(|id| json!({"id": format!("p{id}"), "vector": [id, 2]})).collect();
                let body = json!({"vectors": points});
                let answer = self.ask(cluster, "PUT", &format!("{WORDS}/vectors"), &body).await;
                if answer.status.is_success() {
                    self.next += ids.len();
                    self.upserted += ids.len() as u128;
                    self.ids.extend(ids);
                }
                answer
            }
            2 => {
                let ids: Vec<usize> = self.ids.iter().copied().take(random.below(4)).collect();
                let names: Vec<String> = ids.iter().map(|id| format!("p{id}")).collect();
                if names.is_empty() {
                    return true;
                }
                let body = json!({"ids": names});
                let answer = self.ask(cluster, "POST", &format!("{WORDS}/vectors/delete"), &body).await;
                if answer.status.is_success() {
                    self.deleted += ids.len() as u128;
                    self.ids.retain(|id| !ids.contains(id));
                }
                answer
            }
            3 => self.ask(cluster, "POST", &format!("{WORDS}/search"), &search).await,
            _ => {
                let body = json!({"searches": vec![search; 1 + random.below(4)]});
                self.ask(cluster, "POST", &format!("{WORDS}/search/batch"), &body).await
            }
        };
        assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.body);
        answer.status.as_u16() == 200
    }

    fn id(&self) -> TenantId {
        self.name.parse().unwrap()
    }

    /// Requests and searches that were let in, all of them and those that no crash at `crashes` can have lost.
    fn asked(&self, crashes: &[Instant]) -> [(u128, u128); 2] {
        let safe = |at: &Instant| {
            !crashes.iter().any(|crash| at <= crash && crash.duration_since(*at) < LOST_BY_A_CRASH)
        };
        let count = |only_safe: bool| {
            let asked = self.asked.iter().filter(|(at, _)| !only_safe || safe(at));
            asked.fold((0, 0), |sum, (_, searches)| (sum.0 + 1, sum.1 + u128::from(*searches)))
        };
        [count(true), count(false)]
    }
}

/// The same numbers for the same seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// The bill as the tenant's log comes to, and nothing in it that contradicts that.
fn bill(data: &Path, tenant: &TenantId) -> (Bill, Vec<Line>) {
    let folder = TenantFolder::new(data, tenant);
    let log = folder.open().unwrap().recover(|_| Ok::<_, vectorizer_log::Error>(())).unwrap().log;
    let reader = log.reader();
    let mut bill = Bill::new(log.log_id());
    let mut lines = Vec::new();
    while bill.projection().applied() < log.head().seq {
        let next = bill.projection().applied().next();
        for stored in reader.read(next, 256, 1 << 20).unwrap() {
            for entry in bill.push(&stored.record, Some(stored.chain)).unwrap() {
                match entry {
                    BillEntry::Line(line) => lines.push(Line {
                        through: line.through,
                        meter: line.meter,
                        value: line.value,
                        first_seq: line.first_seq(),
                        window: (line.window.since, line.window.through),
                        chain: line.chain.as_ref().map(ChainHash::to_string).unwrap(),
                    }),
                    BillEntry::Parked(_) => {}
                    other @ (BillEntry::Correction(_) | BillEntry::Discrepancy(_)) => panic!("{other:?}"),
                }
            }
        }
    }
    (bill, lines)
}

/// The lines in the hub's ledger.
fn ledger(hub: &Hub, tenant: &TenantId) -> Vec<Line> {
    let (mut lines, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = hub.usage(tenant, &UsageFilter::default(), from, 100).unwrap();
        lines.extend(page.events.into_iter().map(|UsageEvent { id, data, .. }| Line {
            through: id.through,
            meter: id.meter,
            value: data.value,
            first_seq: data.first_seq,
            window: (data.window.from, data.window.to),
            chain: data.chain.to_string(),
        }));
        after = page.next;
    }
    lines
}

/// What a meter comes to by these lines.
fn sum(lines: &[Line], meter: Meter) -> u128 {
    lines.iter().filter(|line| line.meter == meter).map(|line| line.value).sum()
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(100), "{what}: it does not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until everything is closed and delivered, stops the node, and holds the hub's ledger against the
/// logs and against what the customers did. What is counted on the way is counted for them too.
async fn everything_is_billed(mut cluster: Cluster, customers: Vec<Customer>, crashes: &[Instant]) {
    cluster.feels(Mood::Good);
    for customer in &customers {
        let hub = cluster.hub.clone();
        eventually("what was written is billed", async || {
            sum(&ledger(&hub, &customer.id()), Meter::VectorsUpserted) >= customer.upserted
                && sum(&ledger(&hub, &customer.id()), Meter::VectorsDeleted) >= customer.deleted
        })
        .await;
    }
    // What was counted since the last close is closed too: two windows later.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // From now on no window ends.
    cluster.change_node(&QUIET).await;
    for customer in &customers {
        let started = Instant::now();
        loop {
            let answer = cluster.send(&customer.key, "GET", "/cluster/usage", &Value::Null).await;
            let behind = cluster.hub.usage(&customer.id(), &UsageFilter::default(), 0, 1).unwrap();
            if answer.status.is_success() && !behind.events.is_empty() {
                let (window, last) = (&answer.body["window"], &answer.body["last_delivered"]["seq"]);
                assert!(window["totals"]["requests"].as_u64().unwrap() >= 1, "{}", answer.body);
                assert!(
                    window["first_seq"].as_u64().unwrap() > last.as_u64().unwrap_or(0),
                    "{}",
                    answer.body
                );
                let health = cluster.send(&operator(&cluster), "GET", "/cluster/health", &Value::Null).await;
                if health.expect(200)["usage"]["tenants"] == 0 {
                    break;
                }
            }
            assert!(started.elapsed() < Duration::from_mins(1), "{}", answer.body);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let (hub, data) = cluster.stop_node().await;
    for customer in &customers {
        let (bill, expected) = bill(&data, &customer.id());
        let found = ledger(&hub, &customer.id());
        let mut sorted = found.clone();
        sorted.sort();
        let mut wanted = expected.clone();
        wanted.sort();
        assert_eq!(sorted, wanted, "{}", customer.name);
        for total in bill.totals() {
            assert_eq!(total.recomputed, total.recorded, "{total:?}");
        }
        assert_eq!(sum(&found, Meter::VectorsUpserted), customer.upserted, "{}", customer.name);
        assert_eq!(sum(&found, Meter::VectorsDeleted), customer.deleted, "{}", customer.name);
        let [least, most] = customer.asked(crashes);
        let (requests, searches) = (sum(&found, Meter::Requests), sum(&found, Meter::Searches));
        assert!((least.0..=most.0).contains(&requests), "{}: {least:?} {most:?} {requests}", customer.name);
        assert!((least.1..=most.1).contains(&searches), "{}: {least:?} {most:?} {searches}", customer.name);
    }
}

fn operator(cluster: &Cluster) -> ApiKey {
    cluster.key(None, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_bill_is_delivered_and_is_what_was_done() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut customers = vec![Customer::new(&cluster, "acme"), Customer::new(&cluster, "globex")];
    let mut random = Random(7);
    for customer in &mut customers {
        customer.create(&cluster).await;
        for _ in 0..30 {
            assert!(customer.act(&cluster, &mut random).await);
        }
    }
    everything_is_billed(cluster, customers, &[]).await;
}

/// Customers act while things happen, and at the end the bill is right.
async fn through_chaos(seed: u64, rounds: usize) {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut customers: Vec<_> =
        ["acme", "globex", "initech"].into_iter().map(|name| Customer::new(&cluster, name)).collect();
    let mut random = Random(seed);
    for customer in &mut customers {
        customer.create(&cluster).await;
    }
    let mut crashes = Vec::new();
    let mut hub_is_there = true;
    for _ in 0..rounds {
        for _ in 0..random.below(12) {
            let customer = random.below(customers.len());
            // While the hub is away nobody may be let in after a restart.
            customers[customer].act(&cluster, &mut random).await;
        }
        match random.below(15) {
            0..=3 => {
                crashes.push(Instant::now());
                cluster.restart_node(&FLAGS).await;
            }
            4 if hub_is_there => {
                cluster.stop_hub().await;
                hub_is_there = false;
            }
            4 | 5 if !hub_is_there => {
                cluster.start_hub();
                hub_is_there = true;
            }
            6 => cluster.feels_about_usage(Mood::LosingReceipts),
            7 => cluster.feels_about_usage(Mood::HalfReceipts),
            8 => cluster.feels_about_usage(Mood::Status(500, None)),
            9 => cluster.feels_about_usage(Mood::Status(429, Some(1))),
            10 => cluster.feels_about_usage(Mood::Resetting),
            11 => cluster.feels_about_usage(Mood::Slow(Duration::from_millis(300))),
            12 => cluster.feels_about_usage(Mood::Garbage),
            13 => cluster.feels(Mood::Status(503, None)),
            _ => cluster.feels(Mood::Good),
        }
        tokio::time::sleep(Duration::from_millis(random.below(700) as u64)).await;
    }
    if !hub_is_there {
        cluster.start_hub();
    }
    everything_is_billed(cluster, customers, &crashes).await;
}

/// With `VECTORIZER_SLOW_TESTS=1` for much longer.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_crashes_and_fails_every_line_is_delivered_once_and_nothing_is_billed_twice() {
    let (seeds, rounds) =
        if std::env::var_os("VECTORIZER_SLOW_TESTS").is_some() { (100, 40) } else { (2, 15) };
    for seed in 1..=seeds {
        through_chaos(seed * 0x9e37_79b9, rounds).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_line_is_parked_with_its_reason_and_the_others_are_delivered() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut acme = Customer::new(&cluster, "acme");
    acme.create(&cluster).await;
    cluster.feels(Mood::RejectingFirst);
    acme.act(&cluster, &mut Random(3)).await;
    let parked = async || {
        let log = cluster.send(&acme.key, "GET", "/log", &Value::Null).await.body;
        let lines: Vec<Value> = log
            .as_str()
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let parked = lines.iter().filter_map(|line| line["event"]["parked"].as_array()).flatten().next();
        parked.cloned()
    };
    eventually("the reason is in the log", async || parked().await.is_some()).await;
    let line = parked().await.unwrap();
    assert_eq!(line["reason"], "a bad mood", "{line}");
    let health = cluster.send(&operator(&cluster), "GET", "/cluster/health", &Value::Null).await.expect(200);
    assert!(health["usage"]["parked_lines"].as_u64().unwrap() >= 1, "{health}");
    let through = Seq::new(line["seq"].as_u64().unwrap());
    let meters: Vec<_> = ledger(&cluster.hub, &acme.id())
        .into_iter()
        .filter(|it| it.through == through)
        .map(|it| it.meter.name())
        .collect();
    assert!(!meters.is_empty() && !meters.contains(&line["meter"].as_str().unwrap()), "{meters:?} {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenants_last_bill_is_delivered_however_long_hivehub_is_away() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &QUIET).await;
    let mut customers = [Customer::new(&cluster, "acme"), Customer::new(&cluster, "globex")];
    for customer in &mut customers {
        customer.create(&cluster).await;
        for _ in 0..10 {
            customer.act(&cluster, &mut Random(5)).await;
        }
    }
    // One of them sleeps when it is deleted, and HiveHub takes no reports.
    cluster.change_node(&QUIET).await;
    customers[0].act(&cluster, &mut Random(8)).await;
    cluster.feels_about_usage(Mood::Status(500, None));
    for customer in &customers {
        let path = format!("/cluster/tenants/{}", customer.name);
        cluster.send(&operator(&cluster), "DELETE", &path, &Value::Null).await.expect(200);
    }
    let health = cluster.send(&operator(&cluster), "GET", "/cluster/health", &Value::Null).await.expect(200);
    assert_eq!(health["usage"]["tenants"], 2, "{health}");
    for customer in &customers {
        assert!(ledger(&cluster.hub, &customer.id()).is_empty());
    }
    cluster.restart_node(&QUIET).await;
    cluster.feels(Mood::Good);
    let health =
        async || cluster.send(&operator(&cluster), "GET", "/cluster/health", &Value::Null).await.expect(200);
    eventually("all is delivered", async || health().await["usage"]["tenants"] == 0).await;
    for customer in &customers {
        let lines = ledger(&cluster.hub, &customer.id());
        assert_eq!(sum(&lines, Meter::VectorsUpserted), customer.upserted, "{}", customer.name);
        assert_eq!(sum(&lines, Meter::VectorsDeleted), customer.deleted, "{}", customer.name);
        let asked = customer.asked(&[])[1];
        assert_eq!((sum(&lines, Meter::Requests), sum(&lines, Meter::Searches)), asked, "{}", customer.name);
    }
}

/// So many windows of five minutes, in each of which a vector was written and none of which was delivered.
/// The last one has just been closed.
fn undelivered(data: &Path, tenant: &TenantId, windows: i64) {
    let folder = TenantFolder::new(data, tenant);
    let log_id = folder.create().unwrap();
    let mut log = folder.open().unwrap().recover(|_| Ok::<_, vectorizer_log::Error>(())).unwrap().log;
    let mut projection = Projection::new(log_id);
    let created = Event::CollectionCreated {
        name: "words".parse().unwrap(),
        dimension: 2.try_into().unwrap(),
        metric: Metric::Dot,
        index: IndexParameters::default(),
    };
    let mut events = vec![created];
    let end = Timestamp::now().micros();
    for window in 0..=windows {
        let at = Timestamp::from_micros(end - (windows - window) * 300_000_000);
        // First, for it is right behind what was folded.
        let closed = projection.billing().close(at, projection.usage());
        events.splice(0..0, closed);
        if window < windows {
            let id = PointId::text(format!("p{window}")).unwrap();
            let point = Point { id, vector: Vector::dense(vec![1.0, 2.0]).unwrap(), payload: None };
            let collection = CollectionId::created_at(Seq::OLDEST);
            events.push(Event::VectorsUpserted { collection, points: vec![point] });
        }
        let mut commit = log.begin().unwrap();
        for event in events.drain(..) {
            let actor = Actor { key_id: None, via: Via::System };
            commit.stage(Draft { actor, request_id: String::new(), idempotency: None, event }, at).unwrap();
        }
        for record in commit.commit().unwrap() {
            projection.apply(&record).unwrap();
        }
    }
    log.close().unwrap();
}

/// A day; with `VECTORIZER_SLOW_TESTS=1` a week.
#[tokio::test(flavor = "multi_thread")]
async fn a_week_without_hivehub_costs_no_memory_and_is_delivered_to_the_last_line() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let days = if std::env::var_os("VECTORIZER_SLOW_TESTS").is_some() { 7 } else { 1 };
    let windows = days * 24 * 12;
    let tenants: [TenantId; 2] = ["acme".parse().unwrap(), "globex".parse().unwrap()];
    for tenant in &tenants {
        undelivered(&data, tenant, windows);
    }
    let cluster = Cluster::start(folder.path(), &QUIET).await;
    for tenant in &tenants {
        cluster.tenant(tenant.as_str());
    }
    // It has no time at first.
    cluster.feels(Mood::Status(429, Some(1)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(tenants.iter().all(|tenant| ledger(&cluster.hub, tenant).is_empty()));
    cluster.feels(Mood::Good);
    let health = async || {
        let operator = operator(&cluster);
        let answer = cluster.send(&operator, "GET", "/cluster/health", &Value::Null).await;
        answer.expect(200)["usage"]["tenants"].as_u64()
    };
    eventually("the week is delivered", async || {
        tenants.iter().all(|tenant| !ledger(&cluster.hub, tenant).is_empty()) && health().await == Some(0)
    })
    .await;
    let peak = cluster.node.peak_kibibytes();
    assert!(peak < 200 * 1024, "{peak} KiB");
    let (hub, data) = cluster.stop_node().await;
    for tenant in &tenants {
        let (_, mut wanted) = bill(&data, tenant);
        let mut found = ledger(&hub, tenant);
        assert!(i64::try_from(found.len()).unwrap() >= 3 * windows, "{}", found.len());
        // What the node itself has closed at its end, if anything, is not delivered yet.
        let last = found.iter().map(|line| line.through).max().unwrap();
        wanted.retain(|line| line.through <= last);
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted, "{tenant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_never_written_anything_is_billed_for_what_was_asked() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut acme = Customer::new(&cluster, "acme");
    for _ in 0..5 {
        acme.ask(&cluster, "GET", "/collections", &Value::Null).await.expect(200);
    }
    let requests = || sum(&ledger(&cluster.hub, &acme.id()), Meter::Requests);
    eventually("the requests are billed", async || requests() >= 5).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(requests(), 5);
}
