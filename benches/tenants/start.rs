//! How long a node takes to its first answer, and what it has in memory, with few tenants and with many.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use uuid::Uuid;
use vectorizer_hivehub::QuotaNumbers;
use vectorizer_log::storage::{MemoryStorage, Storage as _};
use vectorizer_log::{
    Error, Head, LogId, Metric, Seq, TenantFolder, TenantId, TenantLog, Timestamp, UnverifiedLog, initialize,
};
use vectorizer_node_store::{NodeStore, StoredBill, StoredQuota, StoredSize};
use vectorizer_testing::events::draft;

use super::cluster::{Cluster, GENEROUS, together};
use super::support::Outcome;
use super::support::workload::{Workload, collection_created};
use super::{Scale, all_asleep, mebibytes, operator};

const VECTORS: usize = 20;
const DIMENSION: usize = 32;
/// Every so-many-th tenant has a log that can be opened; the others have what is read of one that is closed.
const WHOLE_EVERY: usize = 1_000;
/// Those whose requests are made: the first ones.
const ASKED: usize = 10;
/// Threads that make tenants.
const GENERATORS: usize = 4;

pub(crate) fn measure(scale: Scale) -> Outcome<()> {
    let rounds = scale.of(5, 2);
    let mut medians = Vec::new();
    for tenants in [scale.of(1_000, 100), scale.of(100_000, 2_000)] {
        // Whose requests are made is at the hub; the others are on the disk.
        let cluster = Cluster::new(ASKED, GENEROUS)?;
        let generating = Instant::now();
        generate(&cluster.folder.path().join("data"), tenants)?;
        println!("{tenants} tenants made in {:.0} s", generating.elapsed().as_secs_f64());
        let operator = operator(&cluster)?;
        let mut times = Vec::new();
        for round in 0..rounds {
            let started = Instant::now();
            let node = cluster.node(&["--tenant-idle", "1"])?;
            let mut client = node.client(cluster.keys[round % ASKED].expose())?;
            let sought = format!(r#"{{"vector":{:?},"limit":3}}"#, vec![1.0; DIMENSION]);
            let found = client.call("POST", "/collections/measured/search", &sought)?;
            times.push(started.elapsed());
            if found["results"].as_array().map(Vec::len) != Some(3) {
                return Err("not what was written".into());
            }
            if round + 1 == rounds {
                all_asleep(&node, &operator)?;
                std::thread::sleep(Duration::from_secs(scale.of(20, 1) as u64));
                println!("{tenants} tenants asleep: {:.0} MiB", mebibytes(&node, "VmRSS")?);
                let mut pages = 0;
                let mut cursor = String::new();
                let paging = Instant::now();
                let mut client = node.client(operator.expose())?;
                loop {
                    let page = client.call("GET", &format!("/cluster/tenants?limit=1000{cursor}"), "")?;
                    pages += 1;
                    let Some(next) = page["next_cursor"].as_str() else { break };
                    cursor = format!("&cursor={next}");
                }
                println!("all of them in {pages} pages: {:.2} s", paging.elapsed().as_secs_f64());
            }
        }
        times.sort_unstable();
        let median = times[times.len() / 2];
        println!("{tenants} tenants: first answer after {median:?} (median of {rounds}; {times:?})");
        medians.push(median.as_secs_f64());
    }
    println!("ratio {:.2}", medians[1] / medians[0]);
    Ok(())
}

/// Tenants that were used a while ago, as nodes leave them.
fn generate(data: &Path, tenants: usize) -> Outcome<()> {
    let node = data.join("_node");
    fs::create_dir_all(&node)?;
    let node_store = NodeStore::open(&node)?;
    // Where a sync costs nothing.
    let memory = TempDir::new_in("/dev/shm")?;
    together(GENERATORS, |first| {
        for number in (first..tenants).step_by(GENERATORS) {
            make(data, memory.path(), &node_store, number)?;
        }
        Ok(())
    })?;
    // Each was seen by the node that has made it.
    node_store.store_every_bill()?;
    node_store.flush()?;
    Ok(())
}

fn make(data: &Path, memory: &Path, node_store: &NodeStore, number: usize) -> Outcome<()> {
    let tenant: TenantId = format!("t{number}").parse()?;
    let (log_id, head, bytes) = if number < ASKED || number.is_multiple_of(WHOLE_EVERY) {
        whole(&TenantFolder::new(data, &tenant))?
    } else {
        closed(data, memory, &tenant)?
    };
    let size = StoredSize {
        seq: head.seq.get(),
        collections: 1,
        vectors: VECTORS as u64,
        storage_bytes: (VECTORS * (4 * DIMENSION + 48)) as u64,
        log_bytes: bytes,
        memory_bytes: None,
        last_use: Some(Timestamp::now()),
    };
    node_store.store_size(&tenant, &size)?;
    let requests = Some(4_000_000_000);
    let numbers = QuotaNumbers {
        requests_per_minute: requests,
        requests_per_hour: requests,
        ..QuotaNumbers::default()
    };
    let quota = StoredQuota { numbers, incarnation: None };
    node_store.store_quota(&tenant, &quota)?;
    let bill = StoredBill {
        log_id,
        closed: Seq::NONE,
        delivered: Seq::NONE,
        delivered_at: None,
        delivered_window: None,
        parked: Vec::new(),
        behind_since: None,
        window_since: Some(Timestamp::now()),
        window_counts: false,
        awake: false,
    };
    node_store.store_bill(&tenant, &bill)?;
    Ok(())
}

fn whole(folder: &TenantFolder) -> Outcome<(LogId, Head, u64)> {
    let log_id = folder.create()?;
    let mut log = folder.open()?.recover(|_| Ok::<_, Error>(()))?.log;
    write(&mut log)?;
    let (head, bytes) = (log.head(), log.bytes());
    let records = log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX)?;
    log.close()?;
    folder.write_closed(log_id, [Head::genesis(log_id), head], bytes, &records)?;
    Ok((log_id, head, bytes))
}

fn closed(data: &Path, memory: &Path, tenant: &TenantId) -> Outcome<(LogId, Head, u64)> {
    let log_id = LogId::new(Uuid::new_v4());
    let storage = Arc::new(MemoryStorage::new(1_000));
    initialize(&storage, log_id)?;
    let unverified = UnverifiedLog::new(Box::new(Arc::clone(&storage)), log_id)?;
    let mut log = unverified.recover(|_| Ok::<_, Error>(()))?.log;
    write(&mut log)?;
    let (head, bytes) = (log.head(), log.bytes());
    let records = log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX)?;
    let folder = data.join(tenant.as_str());
    fs::create_dir(&folder)?;
    let segment_bytes = 512 * 1024;
    let checksum = crc32fast::hash(format!("1 {log_id} {segment_bytes}").as_bytes());
    let manifest = serde_json::json!({
        "format": 1, "log_id": log_id, "segment_bytes": segment_bytes, "checksum": checksum,
    });
    fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
    fs::write(folder.join("head"), storage.read_head()?)?;
    let made = TenantFolder::new(memory, tenant);
    fs::create_dir(made.path())?;
    made.write_closed(log_id, [Head::genesis(log_id), head], bytes, &records)?;
    fs::copy(made.path().join("closed"), folder.join("closed"))?;
    fs::remove_dir_all(made.path())?;
    Ok((log_id, head, bytes))
}

fn write(log: &mut TenantLog) -> Outcome<()> {
    let mut workload = Workload::new(DIMENSION);
    let mut commit = log.begin()?;
    for event in [collection_created(DIMENSION, Metric::Dot), workload.upserted(VECTORS)] {
        commit.stage(draft(event), Timestamp::now())?;
    }
    commit.commit()?;
    Ok(())
}
