//! The bill is right to the unit, whatever fails.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::ApiKey;
use vectorizer_hivehub::UsageEvent;
use vectorizer_hub::{Hub, UsageFilter};
use vectorizer_log::{ChainHash, Event, Meter, Metric, Seq, TenantFolder, TenantId, Timestamp};
use vectorizer_replay::{Bill, BillEntry, Projection, Projector as _};
use vectorizer_testing::events::{self, FIRST_COLLECTION};
use vectorizer_testing::{PATIENCE, Random, Wait, memory_kibibytes};

use crate::support::customer::Customer;
use crate::support::hub_and_node::{self, Cluster, HubFault};
use crate::support::node::{ACME, Key, Node, vectorizer};

/// Windows of a second, and limits that no customer reaches.
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

/// The bill as the tenant's log comes to, and nothing in it that contradicts that.
fn bill(data: &Path, tenant: &TenantId) -> (Bill, Vec<Line>) {
    let folder = TenantFolder::new(data, tenant);
    let log = events::open(&folder);
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
                    BillEntry::Rejected(_) => {}
                    other @ (BillEntry::Correction(_) | BillEntry::Discrepancy(_)) => panic!("{other:?}"),
                }
            }
        }
    }
    (bill, lines)
}

/// The lines in the hub's ledger.
fn ledger(hub: &Hub, tenant: &TenantId) -> Vec<Line> {
    hub_and_node::usage(hub, tenant).into_iter().map(line).collect()
}

fn line(UsageEvent { id, data, .. }: UsageEvent) -> Line {
    Line {
        through: id.through,
        meter: id.meter,
        value: data.value,
        first_seq: data.first_seq,
        window: (data.window.from, data.window.to),
        chain: data.chain.to_string(),
    }
}

/// The same of whatever hub the cluster has.
async fn lines_of(cluster: &Cluster, tenant: &TenantId) -> Vec<Line> {
    cluster.usage(tenant).await.into_iter().map(line).collect()
}

/// What a meter comes to by these lines.
fn sum(lines: &[Line], meter: Meter) -> u128 {
    lines.iter().filter(|line| line.meter == meter).map(|line| line.value).sum()
}

/// What is billed comes some windows later.
async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    Wait::new(what).at_most(2 * PATIENCE).until(holds).await;
}

/// Waits until everything is closed and delivered, stops the node, and holds the hub's ledger against the
/// logs and against what the customers did. What is counted on the way is counted for them too.
async fn everything_is_billed(mut cluster: Cluster, customers: Vec<Customer>, crashes: &[Instant]) {
    cluster.set_fault(HubFault::None);
    for customer in &customers {
        eventually("what was written is billed", async || {
            let lines = lines_of(&cluster, &customer.id()).await;
            sum(&lines, Meter::VectorsUpserted) >= customer.upserted
                && sum(&lines, Meter::VectorsDeleted) >= customer.deleted
        })
        .await;
    }
    // What was counted since the last close is closed, too.
    for customer in &customers {
        eventually("what was asked is billed", async || {
            let lines = lines_of(&cluster, &customer.id()).await;
            let [least, _] = customer.asked(crashes);
            sum(&lines, Meter::Requests) >= least.0 && sum(&lines, Meter::Searches) >= least.1
        })
        .await;
    }
    // From now on no window ends.
    cluster.change_node(&QUIET).await;
    for customer in &customers {
        let is_shown = async || {
            let answer = cluster.send(&customer.key, "GET", "/cluster/usage", &Value::Null).await;
            let lines = lines_of(&cluster, &customer.id()).await;
            // The hub has a line before the node knows: a node that stops in between delivers it again.
            if answer.status.is_success() && !answer.body["last_delivered"].is_null() {
                let (window, last) = (&answer.body["window"], &answer.body["last_delivered"]["seq"]);
                assert!(window["totals"]["requests"].as_u64().unwrap() >= 1, "{}", answer.body);
                assert!(window["first_seq"].as_u64().unwrap() > last.as_u64().unwrap(), "{}", answer.body);
                shows_what_was_delivered(&answer.body, &lines);
                let health = cluster.send(&operator(&cluster), "GET", "/cluster/health", &Value::Null).await;
                return health.expect(200)["usage"]["tenants"] == 0;
            }
            false
        };
        let wait = Wait::new("everything is delivered").at_most(Duration::from_mins(1));
        wait.every(Duration::from_millis(50)).until(is_shown).await;
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

/// The window that is shown as delivered last is in the ledger, line by line.
fn shows_what_was_delivered(usage: &Value, ledger: &[Line]) {
    let delivered = &usage["last_delivered"];
    let window = &delivered["window"];
    let through = Seq::new(window["last_seq"].as_u64().unwrap_or_else(|| panic!("{usage}")));
    // When that was is not known any more if the server has crashed right after.
    assert!(delivered["seq"].as_u64().unwrap() >= through.get(), "{usage}");
    assert!(window["id"].as_str().unwrap().ends_with(&format!(":{through}")), "{usage}");
    let lines: Vec<&Line> = ledger.iter().filter(|line| line.through == through).collect();
    for line in &lines {
        assert_eq!(window["first_seq"], line.first_seq.get(), "{usage}");
        assert_eq!(
            (&window["since"], &window["until"]),
            (&json!(line.window.0.to_string()), &json!(line.window.1.to_string()))
        );
        assert_eq!(window["totals"][line.meter.name()], u64::try_from(line.value).unwrap(), "{usage}");
    }
    let is_line = |meter: &str| lines.iter().any(|line| line.meter.name() == meter);
    let totals = window["totals"].as_object().unwrap();
    assert_eq!(totals.len(), Meter::ALL.len(), "{usage}");
    assert!(totals.iter().all(|(meter, value)| is_line(meter) || *value == 0), "{usage}");
}

fn operator(cluster: &Cluster) -> ApiKey {
    cluster.key(None, None)
}

/// Restores the tenant. HiveHub is not asked about it while failed reports have opened the breaker.
async fn restore(cluster: &Cluster, operator: &ApiKey, tenant: &str) {
    let path = format!("/cluster/tenants/{tenant}/restore");
    let restored = Wait::new("HiveHub is asked about the tenant").value(async || {
        let answer = cluster.send(operator, "POST", &path, &Value::Null).await;
        (answer.status != 503).then_some(answer)
    });
    restored.await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_bill_is_delivered_and_is_what_was_done() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut customers = vec![Customer::new(&cluster, "acme"), Customer::new(&cluster, "globex")];
    let mut random = Random::new(7);
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
    let names = ["acme", "globex", "initech"];
    let mut cluster = Cluster::start_with_hub_process(folder.path(), &FLAGS, &names).await;
    let mut customers: Vec<_> = names.into_iter().map(|name| Customer::new(&cluster, name)).collect();
    let mut random = Random::new(seed);
    for customer in &mut customers {
        customer.create(&cluster).await;
    }
    let operator = operator(&cluster);
    let mut crashes = Vec::new();
    let mut hub_is_there = true;
    for _ in 0..rounds {
        for _ in 0..random.index(12) {
            let customer = random.index(customers.len());
            // While the hub is away, a node that has restarted refuses all keys.
            customers[customer].act(&cluster, &mut random).await;
        }
        match random.index(30) {
            // Within a report, if one comes: wherever it is then.
            step @ 22..=24 => {
                cluster.calls();
                let patience = Instant::now() + Duration::from_millis(1_500);
                while Instant::now() < patience && !cluster.calls().iter().any(|it| it.ends_with("/usage")) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                tokio::time::sleep(Duration::from_micros(random.index(20_000) as u64)).await;
                if step == 22 {
                    crashes.push(Instant::now());
                    cluster.restart_node(&FLAGS).await;
                } else {
                    cluster.hub_process().kill();
                    cluster.hub_process().start_again();
                }
            }
            25..=27 if cluster.hub_process().is_up() => cluster.hub_process().kill(),
            25..=29 if !cluster.hub_process().is_up() => cluster.hub_process().start_again(),
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
            6 => cluster.set_usage_fault(HubFault::LosingReceipts),
            7 => cluster.set_usage_fault(HubFault::HalfReceipts),
            8 => cluster.set_usage_fault(HubFault::Status(500, None)),
            9 => cluster.set_usage_fault(HubFault::Status(429, Some(1))),
            10 => cluster.set_usage_fault(HubFault::Resetting),
            11 => cluster.set_usage_fault(HubFault::Slow(Duration::from_millis(300))),
            12 => cluster.set_usage_fault(HubFault::Garbage),
            13 => cluster.set_fault(HubFault::Status(503, None)),
            14 => cluster.set_usage_fault(HubFault::HalfRead),
            15 => cluster.set_usage_fault(HubFault::Reversed),
            16 => cluster.set_usage_fault(HubFault::Doubled),
            17 => cluster.set_usage_fault(HubFault::UnknownFor("acme")),
            18 | 19 => {
                let restored = random.index(3);
                let path = format!("/cluster/tenants/{}", customers[restored].name);
                let deleted = cluster.send(&operator, "DELETE", &path, &Value::Null).await;
                assert!(matches!(deleted.status.as_u16(), 200 | 503), "{}", deleted.body);
                if deleted.status.is_success() {
                    // HiveHub is asked whether it has deleted the tenant, too.
                    if !hub_is_there {
                        cluster.start_hub();
                        hub_is_there = true;
                    }
                    cluster.set_fault(HubFault::None);
                    cluster.hub_process().start_again();
                    restore(&cluster, &operator, customers[restored].name).await;
                }
            }
            _ => cluster.set_fault(HubFault::None),
        }
        tokio::time::sleep(Duration::from_millis(random.index(700) as u64)).await;
    }
    if !hub_is_there {
        cluster.start_hub();
    }
    cluster.hub_process().start_again();
    everything_is_billed(cluster, customers, &crashes).await;
}

/// Says which rounds they were, should they fail.
struct Rounds {
    seed: u64,
    rounds: usize,
}

impl Drop for Rounds {
    fn drop(&mut self) {
        let Self { seed, rounds } = self;
        if std::thread::panicking() {
            eprintln!("again: VECTORIZER_CHAOS_SEED={seed} VECTORIZER_CHAOS_ROUNDS={rounds}");
        }
    }
}

/// With `VECTORIZER_SLOW_TESTS=1` for much longer; with `VECTORIZER_CHAOS_SEED` that seed alone, and with
/// `VECTORIZER_CHAOS_ROUNDS` so many rounds of each.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_crashes_and_fails_every_line_is_delivered_once_and_nothing_is_billed_twice() {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let (seeds, rounds) = if vectorizer_testing::is_long_run() { (100, 40) } else { (2, 15) };
    let rounds = number("VECTORIZER_CHAOS_ROUNDS").map_or(rounds, |rounds| usize::try_from(rounds).unwrap());
    let seeds = number("VECTORIZER_CHAOS_SEED")
        .map_or_else(|| (1..=seeds).map(|seed| seed * 0x9e37_79b9).collect::<Vec<_>>(), |seed| vec![seed]);
    for seeds in seeds.chunks(2) {
        // Two at the same time: most of it is waiting.
        join_all(seeds.iter().map(|seed| async {
            let _named = Rounds { seed: *seed, rounds };
            through_chaos(*seed, rounds).await;
        }))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_process_that_is_killed_at_any_moment_has_every_line_once_in_the_end() {
    let folder = TempDir::new().unwrap();
    let (data, hub_folder) = (folder.path().join("data"), folder.path().join("hub"));
    let mut hub = Node::hub(&hub_folder, &[]);
    let authority = hub.authority().to_owned();
    let keys: Value =
        serde_json::from_slice(&std::fs::read(hub_folder.join("dev-keys.json")).unwrap()).unwrap();
    let service_key = keys["hivehub_api_key"].as_str().unwrap().to_owned();
    let url = hub.url().to_owned();
    let flags = |more: &[&'static str]| -> Vec<String> {
        let asks = ["--cluster-enabled", "--hivehub-api-url", &url, "--hivehub-api-key", &service_key];
        [&asks[..], more].concat().into_iter().map(str::to_owned).collect()
    };
    let start = |flags: Vec<String>| {
        Node::start("serve", &data, &flags.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut node = start(flags(&FLAGS));
    let (acme, operator): (TenantId, _) = ("acme".parse().unwrap(), hub.key(Key::Operator));
    let key = hub.key(ACME);
    let send = async |node: &Node, key: &str, method: &str, path: &str, body: &Value| {
        let client = node.keyless();
        let request = client.request(method.parse().unwrap(), path).bearer_auth(key);
        client.send(if body.is_null() { request } else { request.json(body) }).await
    };
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    send(&node, &key, "POST", "/collections", &words).await.expect(201);
    let (mut random, mut upserted) = (Random::new(23), 0);
    for round in 0..8 {
        let killed_after = Duration::from_millis(random.index(900) as u64);
        let started = Instant::now();
        while started.elapsed() < killed_after {
            let body = json!({"vectors": [{"id": format!("p{upserted}"), "vector": [1, 2]}]});
            let answer = send(&node, &key, "PUT", "/collections/words/vectors", &body).await;
            assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.body);
            upserted += u128::from(answer.status.is_success());
        }
        hub.kill();
        if round % 3 == 2 {
            node.kill();
            node = start(flags(&FLAGS));
        }
        tokio::time::sleep(Duration::from_millis(random.index(600) as u64)).await;
        hub = Node::hub(&hub_folder, &["--listen", &authority]);
    }
    assert!(upserted > 0);
    // When everything is closed, no window ends any more, and all is delivered.
    let usage = async || send(&node, &key, "GET", "/cluster/usage", &Value::Null).await;
    eventually("what was written is in a window that has ended", async || {
        let usage = usage().await;
        usage.status.is_success() && usage.body["window"]["totals"]["vectors_upserted"] == 0
    })
    .await;
    node.stop();
    let node = start(flags(&QUIET));
    let health = async || send(&node, &operator, "GET", "/cluster/health", &Value::Null).await;
    eventually("all is delivered", async || {
        // The node has to be awake to know what is not delivered: right after its start it knows no tenant.
        let is_awake = send(&node, &key, "GET", "/collections", &Value::Null).await.status.is_success();
        let health = health().await;
        is_awake && health.status.is_success() && health.body["usage"]["tenants"] == 0
    })
    .await;
    node.stop();
    hub.stop();
    let (_, mut expected) = bill(&data, &acme);
    let mut found = ledger(&Hub::open(&hub_folder.join("_hub")).unwrap(), &acme);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(sum(&found, Meter::VectorsUpserted), upserted);
}

/// A log of so many megabytes, in which one point is written again and again.
fn of_megabytes(data: &Path, tenant: &TenantId, megabytes: usize) {
    const DIMENSION: u16 = 8_192;
    let folder = TenantFolder::new(data, tenant);
    folder.create().unwrap();
    let mut log = events::open(&folder);
    events::commit(&mut log, [events::created("words", usize::from(DIMENSION), Metric::Dot)]);
    let point = events::point("p", &(0..DIMENSION).map(f32::from).collect::<Vec<_>>(), None);
    let written = Event::VectorsUpserted { collection: FIRST_COLLECTION, points: vec![point] };
    for _ in 0..megabytes {
        events::commit(&mut log, vec![written.clone(); (1 << 20) / (4 * usize::from(DIMENSION))]);
    }
    log.close().unwrap();
}

/// The most memory that a command has taken, in KiB. It has to end well.
fn peak_of(arguments: &[&str]) -> u64 {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_vectorizer"))
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let wait = Wait::new(format!("{arguments:?} ends")).every(Duration::from_millis(2));
    let status = wait.value_blocking(|| {
        peak = peak.max(memory_kibibytes(child.id(), "VmHWM").unwrap_or_default());
        child.try_wait().unwrap()
    });
    assert!(status.success(), "{arguments:?}: {status}");
    peak
}

#[test]
fn a_log_of_any_size_is_verified_exported_and_billed_in_the_same_memory() {
    let data = TempDir::new().unwrap();
    let tenants = [("small", 32), ("large", 112)];
    for (tenant, megabytes) in tenants {
        of_megabytes(data.path(), &tenant.parse().unwrap(), megabytes);
    }
    let folder = data.path().to_str().unwrap();
    for command in [&["log", "verify"][..], &["log", "export", "--with-vector"], &["bill"]] {
        let peaks = tenants.map(|(tenant, _)| {
            peak_of(&[command, &["--data-dir", folder, "--tenant", tenant, "--scratch", folder]].concat())
        });
        let [small, large] = peaks;
        assert!(large < small + 24 * 1024, "{command:?}: {small} KiB and {large} KiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_line_is_parked_with_its_reason_and_the_others_are_delivered() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut acme = Customer::new(&cluster, "acme");
    acme.create(&cluster).await;
    cluster.set_fault(HubFault::RejectingFirst);
    acme.act(&cluster, &mut Random::new(3)).await;
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
    assert_eq!(line["reason"], "rejected by the test", "{line}");
    let parked_lines = async |cluster: &Cluster| {
        let health = cluster.send(&operator(cluster), "GET", "/cluster/health", &Value::Null).await;
        health.expect(200)["usage"]["parked_lines"].as_u64().unwrap()
    };
    assert!(parked_lines(&cluster).await >= 1);
    let through = Seq::new(line["seq"].as_u64().unwrap());
    let meters: Vec<_> = ledger(&cluster.hub, &acme.id())
        .into_iter()
        .filter(|it| it.through == through)
        .map(|it| it.meter.name())
        .collect();
    assert!(!meters.is_empty() && !meters.contains(&line["meter"].as_str().unwrap()), "{meters:?} {line}");
    cluster.set_fault(HubFault::None);
    let (before, mut cluster) = (parked_lines(&cluster).await, cluster);
    cluster.change_node(&FLAGS).await;
    assert!(parked_lines(&cluster).await >= before, "what was rejected is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_answer_of_hivehub_about_one_tenant_delays_no_other() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut customers = ["acme", "globex", "initech"].map(|name| Customer::new(&cluster, name));
    for fault in [HubFault::UnknownFor("acme"), HubFault::RefusingTenant("acme")] {
        cluster.set_usage_fault(fault);
        for customer in &mut customers {
            if customer.asked.is_empty() {
                customer.create(&cluster).await;
            }
            while !customer.act(&cluster, &mut Random::new(5)).await {}
        }
        for customer in &customers[1..] {
            let hub = cluster.hub.clone();
            eventually("the others are billed", async || {
                sum(&ledger(&hub, &customer.id()), Meter::VectorsUpserted) >= customer.upserted
            })
            .await;
        }
    }
    everything_is_billed(cluster, customers.into(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_deleted_only_when_its_last_bill_is_on_stable_storage() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &QUIET).await;
    let mut acme = Customer::new(&cluster, "acme");
    acme.create(&cluster).await;
    for seed in 1..10 {
        acme.act(&cluster, &mut Random::new(seed)).await;
    }
    // The key is known before failed reports can open the breaker.
    let operator = operator(&cluster);
    cluster.send(&operator, "GET", "/cluster/health", &Value::Null).await.expect(200);
    cluster.set_usage_fault(HubFault::Status(500, None));
    // Nothing can be kept there.
    let outbox = folder.path().join("data/_node/usage/deleted");
    std::fs::remove_dir(&outbox).unwrap();
    std::fs::write(&outbox, "").unwrap();
    let delete = async || cluster.send(&operator, "DELETE", "/cluster/tenants/acme", &Value::Null).await;
    let refused = delete().await;
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.body);
    assert_eq!(refused.expect(503)["type"], "urn:vectorizer:problem:tenant-unavailable");
    acme.ask(&cluster, "GET", "/collections/words", &Value::Null).await.expect(200);
    std::fs::remove_file(&outbox).unwrap();
    std::fs::create_dir(&outbox).unwrap();
    delete().await.expect(200);
    cluster.set_fault(HubFault::None);
    let lines = || ledger(&cluster.hub, &acme.id());
    eventually("the last bill is delivered", async || sum(&lines(), Meter::Requests) == acme.asked(&[])[1].0)
        .await;
    assert_eq!(sum(&lines(), Meter::VectorsUpserted), acme.upserted);
    assert_eq!(sum(&lines(), Meter::Searches), acme.asked(&[])[1].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_can_be_deleted_although_its_bill_is_unknown() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &QUIET).await;
    for (name, head) in [("acme", Some(vec![0xff; 8192])), ("globex", None)] {
        let mut customer = Customer::new(&cluster, name);
        customer.create(&cluster).await;
        cluster.change_node(&QUIET).await;
        let tenant = folder.path().join("data").join(name);
        let _ = std::fs::remove_file(tenant.join("closed"));
        match head {
            Some(head) => std::fs::write(tenant.join("head"), head).unwrap(),
            None => std::fs::remove_file(tenant.join("head")).unwrap(),
        }
        let path = format!("/cluster/tenants/{name}");
        cluster.send(&operator(&cluster), "DELETE", &path, &Value::Null).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_deleted_restored_and_deleted_again_is_billed_for_both_lives() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &QUIET).await;
    let mut acme = Customer::new(&cluster, "acme");
    acme.create(&cluster).await;
    // The key is known before failed reports can open the breaker.
    let operator = operator(&cluster);
    let ask = async |method: &str, path: &str| {
        cluster.send(&operator, method, path, &Value::Null).await.expect(200)
    };
    ask("GET", "/cluster/health").await;
    cluster.set_usage_fault(HubFault::Status(500, None));
    for seed in 1..4 {
        acme.act(&cluster, &mut Random::new(seed)).await;
        ask("DELETE", "/cluster/tenants/acme").await;
        if seed < 3 {
            restore(&cluster, &operator, "acme").await;
        } else {
            assert_eq!(
                ask("GET", "/cluster/health").await["usage"]["tenants"],
                3,
                "a file for each deletion"
            );
        }
    }
    cluster.set_fault(HubFault::None);
    eventually("all is delivered", async || ask("GET", "/cluster/health").await["usage"]["tenants"] == 0)
        .await;
    let lines = ledger(&cluster.hub, &acme.id());
    assert_eq!(sum(&lines, Meter::VectorsUpserted), acme.upserted);
    assert_eq!(sum(&lines, Meter::VectorsDeleted), acme.deleted);
    assert_eq!((sum(&lines, Meter::Requests), sum(&lines, Meter::Searches)), acme.asked(&[])[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_missing_from_the_store_are_looked_for_until_all_are_found() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let tenants: [TenantId; 2] = ["acme".parse().unwrap(), "globex".parse().unwrap()];
    for tenant in &tenants {
        undelivered(&data, tenant, 3, Timestamp::now());
    }
    // HiveHub knows one of them, so that only that one can be looked at; and then the node crashes.
    let mut cluster = Cluster::start(folder.path(), &QUIET).await;
    cluster.tenant("acme");
    let delivered = |cluster: &Cluster, tenant: &TenantId| !ledger(&cluster.hub, tenant).is_empty();
    eventually("one is found", async || delivered(&cluster, &tenants[0])).await;
    let is_looked_for = async || {
        cluster.node.has_logged(&["limits cannot be asked for", "\"globex\""])
            && cluster.node.has_logged(&["looked after the bills of sleeping tenants"])
    };
    eventually("the other one is looked for", is_looked_for).await;
    cluster.restart_node(&QUIET).await;
    cluster.tenant("globex");
    eventually("the other one is found", async || delivered(&cluster, &tenants[1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_by_an_hour_holds_no_bill_up_and_counts_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    // To their logs it is an hour earlier than before, and an hour later.
    let hour = 3_600_000_000;
    let tenants: [TenantId; 2] = ["acme".parse().unwrap(), "globex".parse().unwrap()];
    for (tenant, by) in tenants.iter().zip([hour, -hour]) {
        undelivered(&data, tenant, 3, Timestamp::from_micros(Timestamp::now().micros() + by));
    }
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut customers = Vec::new();
    for tenant in ["acme", "globex"] {
        let mut customer = Customer::new(&cluster, tenant);
        // What the log held before.
        customer.upserted = 3;
        customers.push(customer);
    }
    let mut random = Random::new(11);
    for _ in 0..4 {
        for customer in &mut customers {
            for _ in 0..5 {
                // The node has asked for the limits before HiveHub knew the tenant.
                let wait = Wait::new("the limits are known").every(Duration::from_millis(50));
                wait.until(async || customer.act(&cluster, &mut random).await).await;
            }
        }
        // Each time in a window of its own.
        cluster.is_asked_for("/usage").await;
    }
    everything_is_billed(cluster, customers, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenants_last_bill_is_delivered_however_long_hivehub_is_away() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &QUIET).await;
    let mut customers = [Customer::new(&cluster, "acme"), Customer::new(&cluster, "globex")];
    for customer in &mut customers {
        customer.create(&cluster).await;
        for _ in 0..10 {
            customer.act(&cluster, &mut Random::new(5)).await;
        }
    }
    // One of them sleeps when it is deleted, and HiveHub takes no reports.
    cluster.change_node(&QUIET).await;
    customers[0].act(&cluster, &mut Random::new(8)).await;
    cluster.set_usage_fault(HubFault::Status(500, None));
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
    cluster.set_fault(HubFault::None);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenants_last_bill_delays_no_other_and_its_rejected_lines_are_counted() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &QUIET).await;
    let mut customers = [Customer::new(&cluster, "acme"), Customer::new(&cluster, "globex")];
    for customer in &mut customers {
        customer.create(&cluster).await;
        let mut random = Random::new(5);
        while customer.upserted == 0 {
            customer.act(&cluster, &mut random).await;
        }
    }
    let [acme, globex] = customers;
    let operator = operator(&cluster);
    let backlog = async || {
        let health = cluster.send(&operator, "GET", "/cluster/health", &Value::Null).await;
        health.expect(200)["usage"].clone()
    };
    // The key is known before failed reports can open the breaker.
    assert_eq!(backlog().await["tenants"], 0);
    cluster.set_usage_fault(HubFault::RefusingTenant("acme"));
    for customer in [&acme, &globex] {
        let path = format!("/cluster/tenants/{}", customer.name);
        cluster.send(&operator, "DELETE", &path, &Value::Null).await.expect(200);
    }
    let billed = |customer: &Customer| ledger(&cluster.hub, &customer.id());
    eventually("the other is billed", async || backlog().await["tenants"] == 1).await;
    assert_eq!(sum(&billed(&globex), Meter::VectorsUpserted), globex.upserted);
    assert_eq!(billed(&acme), []);
    cluster.set_usage_fault(HubFault::RejectingFirst);
    eventually("all is delivered", async || backlog().await["tenants"] == 0).await;
    assert_eq!(backlog().await["parked_lines"], 1);
    assert_ne!(billed(&acme), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_removed_log_are_dropped_with_a_log_line_and_the_tenant_starts_empty() {
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &QUIET).await;
    let mut acme = Customer::new(&cluster, "acme");
    acme.create(&cluster).await;
    acme.act(&cluster, &mut Random::new(5)).await;
    let journals = cluster.node.data.join("_node/usage");
    let is_stored = async || {
        let mut files = std::fs::read_dir(&journals).unwrap().map(|file| file.unwrap().path());
        files.any(|file| std::fs::read_to_string(file).is_ok_and(|entries| entries.contains("\"acme\"")))
    };
    eventually("the requests are stored", is_stored).await;
    cluster.end_node("KILL").await;
    std::fs::remove_dir_all(cluster.node.data.join("acme")).unwrap();
    cluster.node = cluster.another_node(&QUIET).await;
    eventually("it is said", async || {
        cluster.node.has_logged(&["requests of a log that is not there any more are not billed"])
    })
    .await;
    acme.create(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_hivehub_refuses_the_nodes_key_the_operator_is_told_and_nothing_is_lost() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut acme = Customer::new(&cluster, "acme");
    acme.create(&cluster).await;
    // The key is known before failed reports can open the breaker.
    let operator = operator(&cluster);
    let is_told = async || {
        let health = cluster.send(&operator, "GET", "/cluster/health", &Value::Null).await;
        health.expect(200)["problems"].to_string().contains("rejects this server's key")
    };
    assert!(!is_told().await);
    cluster.set_usage_fault(HubFault::Status(401, None));
    while !acme.act(&cluster, &mut Random::new(3)).await {}
    eventually("the operator is told", is_told).await;
    cluster.set_usage_fault(HubFault::None);
    eventually("the key is accepted again", async || !is_told().await).await;
    everything_is_billed(cluster, vec![acme], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_is_a_line_of_its_own_and_the_bill_still_holds() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut acme = Customer::new(&cluster, "acme");
    acme.create(&cluster).await;
    let hub = cluster.hub.clone();
    eventually("it is billed", async || sum(&ledger(&hub, &acme.id()), Meter::Requests) > 0).await;
    let line = ledger(&hub, &acme.id()).into_iter().find(|line| line.meter == Meter::Requests).unwrap();
    let data = folder.path().join("data");
    let correct = |by: &str| {
        let (window, data) = (line.through.to_string(), data.to_str().unwrap());
        let of = ["correct", "--data-dir", data, "--tenant", "acme", "--window", &window];
        vectorizer([&of[..], &["--meter", "requests", "--by", by, "--reason", "a gift"]].concat())
    };
    let refused = correct("-1");
    assert_eq!(refused.status.code(), Some(2), "a server has the folder open: {refused:?}");
    let mut cluster = cluster;
    cluster.end_node("TERM").await;
    let too_much = correct(&format!("-{}", line.value + 1));
    assert_eq!(too_much.status.code(), Some(2), "{too_much:?}");
    assert_eq!(correct("-1").status.code(), Some(0));
    cluster.node = cluster.another_node(&FLAGS).await;
    let corrected = || {
        let page = hub.usage(&acme.id(), &UsageFilter::default(), 0, 1_000).unwrap();
        page.events.into_iter().find_map(|event| event.data.corrects.map(|it| (it, event.data.value)))
    };
    eventually("the correction is delivered", async || corrected().is_some()).await;
    let (correction, value) = corrected().unwrap();
    assert_eq!((correction.line.through, correction.line.meter), (line.through, Meter::Requests));
    assert_eq!((correction.is_negative, value), (true, 1));
    cluster.end_node("TERM").await;
    let (url, key) = cluster.ledger();
    let place = ["bill", "--data-dir", data.to_str().unwrap(), "--tenant", "acme"];
    let held = vectorizer([&place[..], &["--hub", url, "--hub-key", key]].concat());
    assert_eq!(held.status.code(), Some(0), "{}", String::from_utf8_lossy(&held.stdout));
}

/// So many windows of five minutes, in each of which a vector was written and none of which was delivered.
/// The last one was closed at `end`.
fn undelivered(data: &Path, tenant: &TenantId, windows: i64, end: Timestamp) {
    let folder = TenantFolder::new(data, tenant);
    let log_id = folder.create().unwrap();
    let mut log = events::open(&folder);
    let mut projection = Projection::new(log_id);
    let mut next = vec![events::created("words", 2, Metric::Dot)];
    let end = end.micros();
    for window in 0..=windows {
        let at = Timestamp::from_micros(end - (windows - window) * 300_000_000);
        // First, for it is right behind what was folded.
        let closed = projection.billing().close(at, projection.usage());
        next.splice(0..0, closed);
        if window < windows {
            let point = events::point(&format!("old{window}"), &[1.0, 2.0], None);
            next.push(Event::VectorsUpserted { collection: FIRST_COLLECTION, points: vec![point] });
        }
        for record in events::commit_at(&mut log, at, next.drain(..)) {
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
    let days = if vectorizer_testing::is_long_run() { 7 } else { 1 };
    let windows = days * 24 * 12;
    let tenants: [TenantId; 2] = ["acme".parse().unwrap(), "globex".parse().unwrap()];
    for tenant in &tenants {
        undelivered(&data, tenant, windows, Timestamp::now());
    }
    let cluster = Cluster::start(folder.path(), &QUIET).await;
    // It has no time at first.
    cluster.set_fault(HubFault::Status(429, Some(1)));
    for tenant in &tenants {
        cluster.tenant(tenant.as_str());
    }
    cluster.is_asked_for("/quota").await;
    assert!(tenants.iter().all(|tenant| ledger(&cluster.hub, tenant).is_empty()));
    cluster.set_fault(HubFault::None);
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

/// A dozen windows; with `VECTORIZER_SLOW_TESTS=1` as many as a week has hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_serves_for_long_without_hivehub_keeps_every_window_and_delivers_as_fast_as_it_may() {
    let windows = if vectorizer_testing::is_long_run() { 168 } else { 12 };
    let folder = TempDir::new().unwrap();
    let mut cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut customers = ["acme", "globex", "initech", "umbrella"].map(|name| Customer::new(&cluster, name));
    for customer in &mut customers {
        customer.create(&cluster).await;
    }
    cluster.stop_hub().await;
    let (gone, mut random) = (Instant::now(), Random::new(31));
    let mut peak_before = None;
    // Known keys are served all the time.
    while gone.elapsed() < Duration::from_secs(windows) {
        for customer in &mut customers {
            assert!(customer.act(&cluster, &mut random).await, "{} is not served", customer.name);
        }
        if gone.elapsed() > Duration::from_secs(windows / 3) {
            peak_before.get_or_insert_with(|| cluster.node.peak_kibibytes());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let grown = cluster.node.peak_kibibytes() - peak_before.unwrap();
    assert!(grown < 48 * 1024, "what waits for HiveHub is held in memory: {grown} KiB");
    let operator = operator(&cluster);
    // The operator's key was never seen here, so only a hub that is there can tell whose it is.
    cluster.set_usage_fault(HubFault::Status(429, Some(1)));
    cluster.start_hub();
    let health = async || cluster.send(&operator, "GET", "/cluster/health", &Value::Null).await;
    eventually("the operator is let in", async || health().await.status.is_success()).await;
    let backlog = health().await.expect(200)["usage"].clone();
    assert_eq!(backlog["tenants"], customers.len(), "{backlog}");
    assert!(backlog["oldest_seconds"].as_u64().unwrap() >= windows - 4, "{backlog}");
    for customer in &customers {
        let has = sum(&lines_of(&cluster, &customer.id()).await, Meter::VectorsUpserted);
        assert!(has < customer.upserted, "nothing was kept back");
    }
    cluster.set_usage_fault(HubFault::Strict);
    for customer in &customers {
        eventually("what waited is billed", async || {
            sum(&lines_of(&cluster, &customer.id()).await, Meter::VectorsUpserted) == customer.upserted
        })
        .await;
    }
    {
        let report_rate = cluster.report_rate.lock().unwrap();
        assert!(report_rate.refused > 0, "it was never too much: {report_rate:?}");
        assert_eq!(report_rate.impatient, 0, "{report_rate:?}");
    }
    everything_is_billed(cluster, customers.into(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_never_wrote_has_no_log_and_is_billed_from_its_first_write_on() {
    let folder = TempDir::new().unwrap();
    let cluster = Cluster::start(folder.path(), &FLAGS).await;
    let mut acme = Customer::new(&cluster, "acme");
    for _ in 0..5 {
        acme.ask(&cluster, "GET", "/collections", &Value::Null).await.expect(200);
    }
    assert!(!cluster.node.data.join("acme").exists());
    let words = json!({"name": "words", "dimension": 2, "metric": "dot"});
    acme.ask(&cluster, "POST", "/collections", &words).await.expect(201);
    for _ in 0..4 {
        acme.ask(&cluster, "GET", "/collections", &Value::Null).await.expect(200);
    }
    let id = acme.id();
    let requests = || sum(&ledger(&cluster.hub, &id), Meter::Requests);
    eventually("the requests are billed", async || requests() >= 5).await;
    assert_eq!(requests(), 5);
    // Nor are the first ones in a later window.
    acme.ask(&cluster, "GET", "/collections", &Value::Null).await.expect(200);
    eventually("the next window is billed", async || requests() > 5).await;
    assert_eq!(requests(), 6);
}
