//! Durable before acknowledged, when the power fails too: on a disk that forgets what was not synced, tears it and
//! keeps parts of it in any order, nothing that was acknowledged is lost. And a server that left out a sync would be
//! found out.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use vectorizer_access::ApiKey;
use vectorizer_hivehub::TenantStatus;
use vectorizer_log::{BaseItem, BaseState, Draft, Event, TenantFolder, TenantLog, Timestamp};
use vectorizer_testing::Random;
use vectorizer_testing::events::{FIRST_COLLECTION, draft, open};

use crate::support::disk::{Disk, MissingSync, Survival};
use crate::support::hub_and_node::Cluster;
use crate::support::node::Client;

/// Windows of the bill are closed, its journal is written and tenants fall asleep all the while.
const FLAGS: [&str; 4] = ["--usage-report-interval", "1", "--tenant-idle", "1"];
const COLLECTION: &str = "/collections/load/vectors";

/// `VECTORIZER_SLOW_TESTS` asks for the long run; `VECTORIZER_SEED` for another story.
fn rounds() -> usize {
    if vectorizer_testing::is_long_run() { 300 } else { 12 }
}

fn seed() -> u64 {
    let seed = std::env::var("VECTORIZER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("VECTORIZER_SEED={seed}");
    seed
}

fn batch(number: u64) -> Value {
    let size = number * 7 % 60 + 1;
    let vectors: Vec<Value> = (0..size)
        .map(|at| json!({"id": format!("{number}-{at}"), "vector": [number, at, 1], "payload": {"batch": number}}))
        .collect();
    json!({ "vectors": vectors })
}

/// A tenant that writes, and what it was told of that.
struct Customer {
    name: String,
    key: ApiKey,
    /// Whether its collection was.
    created: bool,
    /// Number of the batch and its place in the log.
    acknowledged: Vec<(u64, u64)>,
    next: u64,
}

impl Customer {
    fn new(cluster: &Cluster, name: String) -> Self {
        cluster.tenant(&name);
        let key = cluster.key(Some(&name), None);
        Self { name, key, created: false, acknowledged: Vec::new(), next: 0 }
    }

    /// Writes so many batches, or until the first answer that is none or an error.
    async fn write(mut self, client: Client, batches: usize) -> Self {
        let send = async |method: &str, path: &str, body: &Value| -> Option<(u16, Value)> {
            let request = client.request(method.parse().unwrap(), path).bearer_auth(self.key.expose());
            let answer = request.json(body).send().await.ok()?;
            Some((answer.status().as_u16(), answer.json().await.ok()?))
        };
        if !self.created {
            let body = json!({"name": "load", "dimension": 3, "metric": "euclidean"});
            match send("POST", "/collections", &body).await {
                // It may have been created without a word about it.
                Some((201 | 409, _)) => self.created = true,
                _ => return self,
            }
        }
        for _ in 0..batches {
            let Some((200, body)) = send("PUT", COLLECTION, &batch(self.next)).await else { break };
            self.acknowledged.push((self.next, body["seq"].as_u64().unwrap()));
            self.next += 1;
        }
        self
    }

    /// What is missing of what was acknowledged, if anything is. From here on it goes on with what is there.
    async fn check(&mut self, client: &Client) -> Result<(), String> {
        let ask = async |method: &str, path: &str, body: &Value| {
            let request = client.request(method.parse().unwrap(), path).bearer_auth(self.key.expose());
            let request = if body.is_null() { request } else { request.json(body) };
            let answer = request.send().await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            if status == 200 { Ok(text) } else { Err(format!("{}: {path}: {status} {text}", self.name)) }
        };
        let text = ask("GET", "/log", &Value::Null).await?;
        let log: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if let Some(at) = (0..log.len()).find(|at| log[*at]["seq"] != at + 1) {
            return Err(format!("{}: a gap in front of {}", self.name, log[at]));
        }
        for (number, seq) in &self.acknowledged {
            let found = log.get(*seq as usize - 1).map_or(&Value::Null, |line| &line["event"]["points"]);
            let expected = batch(*number);
            let expected = expected["vectors"].as_array().unwrap();
            let is_there = found.as_array().is_some_and(|points| {
                points.len() == expected.len()
                    && points.iter().zip(expected).all(|(point, expected)| {
                        (&point["id"], &point["payload"]) == (&expected["id"], &expected["payload"])
                    })
            });
            if !is_there {
                return Err(format!("{}: batch {number} is not at {seq}, there is {found}", self.name));
            }
        }
        let batches: Vec<(u64, u64)> = log
            .iter()
            .filter_map(|line| {
                Some((line["event"]["points"][0]["payload"]["batch"].as_u64()?, line["seq"].as_u64()?))
            })
            .collect();
        let exists = log.iter().any(|line| line["event"]["type"] == "collection_created");
        if self.created && !exists {
            return Err(format!("{}: its collection is gone", self.name));
        }
        if exists {
            let expected: u64 = batches.iter().map(|(number, _)| number * 7 % 60 + 1).sum();
            let count: Value =
                serde_json::from_str(&ask("POST", "/collections/load/count", &json!({})).await?).unwrap();
            if count["count"] != expected {
                return Err(format!("{}: {count} vectors of {expected}", self.name));
            }
        }
        self.created = exists;
        self.next = batches.last().map_or(0, |(number, _)| number + 1);
        self.acknowledged = batches;
        Ok(())
    }
}

/// Tenants come, write and go while the power fails and the process is killed; what was lost first, if anything was.
async fn live(seed: u64, rounds: usize, missing_sync: Option<MissingSync>) -> Option<Result<(), String>> {
    let folder = TempDir::new().unwrap();
    let disk = Disk::mount(&folder.path().join("data"))?;
    disk.neglects(missing_sync);
    let mut random = Random::new(seed);
    let mut cluster = Cluster::start(folder.path(), &FLAGS).await;
    let operator = cluster.key(None, None);
    let mut customers = vec![Customer::new(&cluster, "first".to_owned())];
    let mut written = 0;
    for round in 0..rounds {
        customers.push(Customer::new(&cluster, format!("tenant-{round}")));
        let client = cluster.node.keyless();
        // Deleted while it comes, it may be the one before or the one after that goes.
        let first_is_there = customers.iter().any(|customer| customer.name == "first" && customer.created);
        let mut writing = JoinSet::new();
        for customer in customers.drain(..) {
            // Some have time to fall asleep behind that.
            let batches = if random.coin() { random.index(20) } else { usize::MAX };
            writing.spawn(customer.write(client.clone(), batches));
        }
        let milliseconds_max = if random.index(4) == 0 { 3_000 } else { 500 };
        let milliseconds = random.index(milliseconds_max);
        tokio::time::sleep(Duration::from_millis(milliseconds as u64)).await;
        let mut deleted = None;
        if random.index(4) == 0 && first_is_there {
            let answer = cluster.send(&operator, "DELETE", "/cluster/tenants/first", &Value::Null).await;
            deleted = (answer.status == 200).then_some("first");
        }
        if random.index(3) > 0 {
            let survivals = [Survival::Nothing, Survival::Beginning, Survival::Anything];
            disk.power_off(survivals[random.index(3)], &mut random);
        }
        cluster.node.signal("KILL");
        customers = writing.join_all().await;
        customers.sort_by(|one, other| one.name.cmp(&other.name));
        disk.power_on();
        cluster.restart_node(&FLAGS).await;
        let client = cluster.node.keyless();
        for customer in &mut customers {
            if deleted == Some(&customer.name) {
                // On the node it stays deleted. HiveHub makes it anew, with nothing of what was.
                cluster
                    .hub
                    .set_tenant_status(&customer.name.parse().unwrap(), TenantStatus::Deleted)
                    .unwrap();
                cluster.tenant(&customer.name);
                customer.key = cluster.key(Some(&customer.name), None);
                (customer.created, customer.acknowledged) = (false, Vec::new());
                let listed = cluster.send(&customer.key, "GET", "/collections", &Value::Null).await;
                if listed.status == 200 && listed.body["collections"] != json!([]) {
                    return Some(Err(format!("{}: {} was deleted", customer.name, listed.body)));
                }
            }
            written += customer.acknowledged.len();
            if let Err(loss) = customer.check(&client).await {
                return Some(Err(format!("round {round}: {loss}")));
            }
        }
        // Enough of them to write at the same time.
        customers.truncate(4);
    }
    drop(cluster);
    assert!(written > rounds, "only {written} batches in {rounds} rounds");
    Some(Ok(()))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_fails_at_any_moment() {
    if let Some(lived) = live(seed(), rounds(), None).await {
        lived.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_late_sync_is_detected() {
    for missing_sync in [
        MissingSync::SkipsFile("db"),
        MissingSync::SkipsFolders,
        MissingSync::SyncsLate(Duration::from_millis(300)),
    ] {
        let mut found = None;
        for seed in 1..=10 {
            match live(seed, 4, Some(missing_sync)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(loss)) => {
                    found = Some(loss);
                    break;
                }
            }
        }
        let loss = found.unwrap_or_else(|| panic!("{missing_sync:?} goes unnoticed"));
        eprintln!("{missing_sync:?}: {loss}");
    }
}

/// Appends some records of up to so many bytes; how many.
fn append(log: &mut TenantLog, bytes: usize, random: &mut Random) -> Result<usize, vectorizer_log::Error> {
    let mut commit = log.begin()?;
    for _ in 0..=random.index(5) {
        let event = Event::CollectionDeleted { collection: FIRST_COLLECTION };
        // As good as any payload.
        let request_id = "x".repeat(random.index(bytes));
        commit.stage(Draft { request_id, ..draft(event) }, Timestamp::now())?;
    }
    commit.commit().map(|records| records.len())
}

/// The log alone, whose lives are shorter than a server's: so that every way of ending meets every state of sled's,
/// of logs within their first segment and beyond it, with and without bodies. Returns how many records were
/// acknowledged, or what was lost first.
fn live_of_a_log(
    disk: &Disk,
    tenant: &TenantFolder,
    bytes: usize,
    random: &mut Random,
) -> Result<usize, String> {
    let mut acknowledged = 0;
    for life in 0..40 {
        let recovered = tenant.open().and_then(|log| log.recover(|_| Ok::<_, vectorizer_log::Error>(())));
        let mut log = recovered.map_err(|error| format!("life {life}: {error}"))?.log;
        let found = usize::try_from(log.head().seq.get()).unwrap();
        if found < acknowledged {
            return Err(format!("life {life}: {found} of {acknowledged} records"));
        }
        acknowledged = found;
        for _ in 0..random.index(12) {
            acknowledged += append(&mut log, bytes, random).unwrap();
        }
        let survival = [Survival::Nothing, Survival::Beginning, Survival::Anything][random.index(3)];
        match random.index(5) {
            0 => log.close().unwrap(),
            // As at the end of the process.
            1 => drop(log),
            2 => {
                let mut moment = Random::new(random.index(usize::MAX) as u64);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        std::thread::sleep(Duration::from_micros(moment.index(3_000) as u64));
                        disk.power_off(survival, &mut moment);
                    });
                    while let Ok(more) = append(&mut log, bytes, random) {
                        acknowledged += more;
                    }
                });
                drop(log);
                disk.power_on();
            }
            _ => {
                disk.power_off(survival, random);
                drop(log);
                disk.power_on();
            }
        }
    }
    Ok(acknowledged)
}

#[test]
fn a_log_that_is_opened_again_and_again_loses_nothing_with_the_power() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let Some(disk) = Disk::mount(&data) else { return };
    let mut random = Random::new(seed());
    for story in 0..rounds() {
        let tenant = TenantFolder::new(&data, &format!("tenant-{story}").parse().unwrap());
        tenant.create().unwrap();
        let bytes = [100, 1_000, 8_000, 60_000][story % 4];
        let acknowledged = live_of_a_log(&disk, &tenant, bytes, &mut random)
            .unwrap_or_else(|loss| panic!("story {story}, {loss}"));
        assert!(acknowledged > 200, "only {acknowledged} records");
    }
}

fn never() -> bool {
    false
}

/// Rotates, seals, merges or drops. Returns how many records were acknowledged meanwhile.
fn change_tiers(log: &mut TenantLog, random: &mut Random) -> Result<usize, vectorizer_log::Error> {
    let reader = log.reader();
    match random.index(6) {
        0 | 1 => log.rotate()?,
        2 | 3 => drop(reader.seal(&never)?),
        4 => drop(reader.merge(None, &never)?),
        _ => {
            let Some(last) = reader.sealed()?.pop() else { return Ok(0) };
            let state = BaseItem::State(BaseState { data_seq: last.head.seq, ..BaseState::default() });
            let mut items = |push: &mut dyn FnMut(&BaseItem) -> std::io::Result<()>| push(&state);
            let Some(base) = reader.prepare_base(last.head, &mut items, &never)? else { return Ok(0) };
            let event = base.event();
            let Some(reservation) = log.reserve_drop(base)? else { return Ok(0) };
            let mut commit = log.begin()?;
            commit.stage(draft(event), Timestamp::now())?;
            let acknowledged = commit.commit()?.len();
            log.drop_history(reservation)?;
            return Ok(acknowledged);
        }
    }
    Ok(0)
}

/// Reads the whole log. Returns what is wrong with it, if anything is.
fn check_tiers(log: &TenantLog, acknowledged: usize) -> Result<(), String> {
    let (reader, head) = (log.reader(), log.head().seq);
    if head.get() < acknowledged as u64 {
        return Err(format!("{head} of {acknowledged} records"));
    }
    let beginning = reader.beginning().map_err(|error| error.to_string())?.seq;
    if let Some(base) = reader.base().map_err(|error| error.to_string())? {
        let check = |item| {
            let is_right = matches!(item, BaseItem::State(state) if state.data_seq == beginning);
            if is_right { Ok(()) } else { Err(vectorizer_log::Error::Closed) }
        };
        base.each(check).map_err(|error| format!("the base at {beginning}: {error}"))?;
    }
    let mut next = beginning.next();
    while next <= head {
        for stored in reader.read(next, 100, 1 << 20).map_err(|error| error.to_string())? {
            if stored.record.seq != next {
                return Err(format!("{} in the place of {next}", stored.record.seq));
            }
            next = next.next();
        }
    }
    Ok(())
}

/// Like [`live_of_a_log`], with tiers that change all the while. The power fails in the middle of each kind of change.
fn live_of_tiers(
    disk: &Disk,
    tenant: &TenantFolder,
    bytes: usize,
    random: &mut Random,
) -> Result<usize, String> {
    let mut acknowledged = 0;
    for life in 0..40 {
        let recovered = tenant.open().and_then(|log| log.recover(|_| Ok::<_, vectorizer_log::Error>(())));
        let mut log = recovered.map_err(|error| format!("life {life}: {error}"))?.log;
        check_tiers(&log, acknowledged).map_err(|loss| format!("life {life}: {loss}"))?;
        acknowledged = usize::try_from(log.head().seq.get()).unwrap();
        let survival = [Survival::Nothing, Survival::Beginning, Survival::Anything][random.index(3)];
        let mut moment = Random::new(random.index(usize::MAX) as u64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(moment.index(30_000) as u64));
                disk.power_off(survival, &mut moment);
            });
            loop {
                let step = if random.coin() {
                    append(&mut log, bytes, random)
                } else {
                    change_tiers(&mut log, random)
                };
                match step {
                    Ok(more) => acknowledged += more,
                    Err(_) => break,
                }
            }
        });
        drop(log);
        disk.power_on();
    }
    Ok(acknowledged)
}

#[test]
fn tiers_lose_nothing_with_the_power_in_any_step_of_rotating_sealing_merging_and_dropping() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let Some(disk) = Disk::mount(&data) else { return };
    let mut random = Random::new(seed());
    for story in 0..rounds().div_ceil(3) {
        let tenant = TenantFolder::new(&data, &format!("tenant-{story}").parse().unwrap());
        tenant.create().unwrap();
        let bytes = [100, 8_000, 60_000][story % 3];
        let acknowledged = live_of_tiers(&disk, &tenant, bytes, &mut random)
            .unwrap_or_else(|loss| panic!("story {story}, {loss}"));
        assert!(acknowledged > 100, "only {acknowledged} records");
    }
}

#[test]
fn a_missing_sync_of_a_segment_or_of_a_manifest_is_detected() {
    for missing_sync in [MissingSync::SkipsFile("unfinished"), MissingSync::SkipsFile("history.json.fresh")] {
        is_detected(missing_sync, |disk, tenant, random| live_of_tiers(disk, tenant, 8_000, random));
    }
}

/// Lives without this sync until something is lost.
fn is_detected(
    missing_sync: MissingSync,
    live: impl Fn(&Disk, &TenantFolder, &mut Random) -> Result<usize, String>,
) {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let Some(disk) = Disk::mount(&data) else { return };
    let lost = (1..=10).find_map(|seed| {
        let tenant = TenantFolder::new(&data, &format!("tenant-{seed}").parse().unwrap());
        disk.neglects(None);
        tenant.create().unwrap();
        disk.neglects(Some(missing_sync));
        live(&disk, &tenant, &mut Random::new(seed)).err()
    });
    let loss = lost.unwrap_or_else(|| panic!("{missing_sync:?} goes unnoticed"));
    eprintln!("{missing_sync:?}: {loss}");
}

#[test]
fn the_first_body_of_a_log_is_durable_with_its_file() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let Some(disk) = Disk::mount(&data) else { return };
    let tenant = TenantFolder::new(&data, &"acme".parse().unwrap());
    tenant.create().unwrap();
    let mut log = open(&tenant);
    let mut commit = log.begin().unwrap();
    let event = Event::CollectionDeleted { collection: FIRST_COLLECTION };
    let large = Draft { request_id: "x".repeat(100_000), ..draft(event) };
    commit.stage(large, Timestamp::now()).unwrap();
    commit.commit().unwrap();
    disk.power_off(Survival::Nothing, &mut Random::new(1));
    drop(log);
    disk.power_on();
    assert_eq!(open(&tenant).head().seq.get(), 1);
}

/// A server that acknowledged a body without a sync of its own would lose it.
#[test]
fn a_missing_sync_of_bodies_or_of_their_name_is_detected() {
    for missing_sync in [MissingSync::SkipsFile("bodies"), MissingSync::SkipsFolders] {
        is_detected(missing_sync, |disk, tenant, random| live_of_a_log(disk, tenant, 60_000, random));
    }
}
