//! What a tenant adds to the memory of a node, and what the node counts for it, on ten shapes of data.
//!
//! Each shape has a node of its own. It is measured once the tenant is written, with all vectors linked and the log
//! open; when its log is closed, after a while without a write; and after a restart, when a search has woken it. What
//! a node takes with a small tenant of the same kind awake is taken off: some tens of megabytes are held back for
//! requests of that size of any tenant. Resident memory is that of `/proc/{pid}/statm`; what the
//! allocator still holds back is waited for.
//!
//! ```text
//! cargo build --release && cargo bench --bench memory [-- words urls …]
//! ```

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
#[expect(dead_code, reason = "the other measurements use more of it")]
mod cluster;
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;

use std::fmt::Write as _;
use std::time::Duration;
use std::{fmt, fs};

use client::{Client, Server};
use cluster::{Cluster, GENEROUS, together};
use serde_json::{Value, json};
use support::workload::Workload;
use support::{Outcome, number, print_table};
use vectorizer_access::{ApiKey, Environment};
use vectorizer_hivehub::Permission;
use vectorizer_hub::NewKey;
use vectorizer_testing::Random;

/// There is room for all. Logs are closed after so many seconds, and tenants that are asked for something stay awake.
const FLAGS: [&str; 4] = ["--memory-budget", "16000000000", "--tenant-idle", "8"];
const RECORDS_PER_WRITE: usize = 500;
/// What the small tenant has, at most half as much as the other.
const WARMING_RECORDS: usize = 20_000;
/// Connections by which small requests are sent.
const CONNECTIONS: usize = 32;
const PAGE: usize = 4096;
/// How long nothing is written before the log is closed for sure.
const LOG_IDLE_SECONDS: usize = 12;
const MEBIBYTE: f64 = 1_048_576.0;

/// A kind of data.
struct Shape {
    name: &'static str,
    what: &'static str,
    /// What is created.
    collection: fn() -> Value,
    records: usize,
    record: fn(usize, &mut Random) -> Value,
    /// A search that finds something.
    search: fn() -> Value,
    /// Whether each record is a request with an idempotency key.
    is_single: bool,
}

const SHAPES: [Shape; 10] = [
    Shape {
        name: "vectors-128",
        what: "100,000 vectors of 128 numbers",
        collection: || collection(128),
        records: 100_000,
        record: |number, random| record(number, random, 128),
        search: || vector_search(128),
        is_single: false,
    },
    Shape {
        name: "vectors-384",
        what: "40,000 vectors of 384 numbers",
        collection: || collection(384),
        records: 40_000,
        record: |number, random| record(number, random, 384),
        search: || vector_search(384),
        is_single: false,
    },
    Shape {
        name: "vectors-2",
        what: "200,000 vectors of 2 numbers",
        collection: || collection(2),
        records: 200_000,
        record: |number, random| record(number, random, 2),
        search: || vector_search(2),
        is_single: false,
    },
    Shape {
        name: "urls",
        what: "200,000 distinct URLs in payloads",
        collection: || collection(2),
        records: 200_000,
        record: |number, random| {
            let url = format!(
                "https://example.com/articles/{}/{:016x}?from=feed&page={number}",
                number % 97,
                random.next()
            );
            with(record(number, random, 2), json!({"url": url}))
        },
        search: || vector_search(2),
        is_single: false,
    },
    Shape {
        name: "numbers",
        what: "600,000 distinct numbers in payloads",
        collection: || collection(2),
        records: 200_000,
        record: |number, random| {
            let payload = json!({"price": random.below(1 << 40), "size": random.below(1 << 50), "time": 1_700_000_000 + number});
            with(record(number, random, 2), payload)
        },
        search: || vector_search(2),
        is_single: false,
    },
    Shape {
        name: "paths",
        what: "15,000 paths in payloads",
        collection: || collection(2),
        records: 15_000,
        record: |number, random| {
            let path = format!("attribute-{number}");
            with(record(number, random, 2), json!({path: {"of": random.below(100)}}))
        },
        search: || vector_search(2),
        is_single: false,
    },
    Shape {
        name: "acls",
        what: "80,000 lists of 40 of 5,000 users",
        collection: || collection(2),
        records: 80_000,
        record: |number, random| {
            let users: Vec<String> = (0..40).map(|_| format!("user-{}", random.below(5_000))).collect();
            with(record(number, random, 2), json!({"users": users}))
        },
        search: || vector_search(2),
        is_single: false,
    },
    Shape {
        name: "words",
        what: "60,000 texts of 50 words, one in four of them rare",
        collection: || json!({"name": "measured", "text": true}),
        records: 60_000,
        record: |number, random| json!({"id": format!("text-{number}"), "text": text(random)}),
        search: || json!({"text": "w1 w2"}),
        is_single: false,
    },
    Shape {
        name: "opaque",
        what: "40,000 payloads of 4 KB",
        collection: || collection(2),
        records: 40_000,
        record: |number, random| {
            let mut blob = String::new();
            while blob.len() < 4_000 {
                let _ = write!(blob, "{:016x}", random.next());
            }
            with(record(number, random, 2), json!({"blob": blob}))
        },
        search: || vector_search(2),
        is_single: false,
    },
    Shape {
        name: "idempotency",
        what: "100,000 small writes with an idempotency key each",
        collection: || collection(2),
        records: 100_000,
        record: |number, random| record(number, random, 2),
        search: || vector_search(2),
        is_single: true,
    },
];

fn main() -> Outcome<()> {
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut rows = Vec::new();
    for shape in SHAPES.iter().filter(|shape| named.is_empty() || named.iter().any(|it| it == shape.name)) {
        let states = measure(shape)?;
        eprintln!("{}: {states:?}", shape.name);
        let [written, closed, woken] = states;
        rows.push([shape.what.to_owned(), written.to_string(), closed.to_string(), woken.to_string()]);
    }
    print_table(["data, MiB added to the process / counted", "written", "log closed", "woken"], &rows);
    Ok(())
}

/// What a tenant adds to a process, and what is counted for it.
#[derive(Clone, Copy, Debug)]
struct Measured {
    added: usize,
    counted: usize,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (added, counted) = (number(self.added), number(self.counted));
        write!(f, "{:.1} / {:.1} = {:.2}", added / MEBIBYTE, counted / MEBIBYTE, counted / added)
    }
}

/// After writing, with the log closed, and after waking.
fn measure(shape: &Shape) -> Outcome<[Measured; 3]> {
    let cluster = Cluster::new(2, GENEROUS)?;
    let operator = cluster.hub.create_key(
        Environment::Live,
        &NewKey { permission: Permission::Admin, tenant: None, expires_at: None },
    )?;
    let [small, large] = [0, 1].map(|tenant| cluster.keys[tenant].expose());
    let (server, before) = node(&cluster, shape)?;
    let mut client = server.client(large)?;
    create(&mut client, &(shape.collection)())?;
    if shape.is_single {
        write_singly(&server, large, shape)?;
    } else {
        write(&mut client, shape, shape.records)?;
    }
    let again = (shape.record)(0, &mut Random::new(1));
    let again = json!({"vectors": [again]}).to_string();
    let keep_open = || server.client(large)?.call("PUT", "/collections/measured/vectors", &again).map(drop);
    let written = settled_bytes(&server, &[small, large], keep_open)?;
    let written = taken(&server, &operator, (written, before))?;
    let closed = closed_bytes(&server, &[small, large])?;
    let closed = taken(&server, &operator, (closed, before))?;
    stop(server);
    let (server, before) = node(&cluster, shape)?;
    let mut client = server.client(large)?;
    client.call("POST", "/collections/measured/search", &(shape.search)().to_string())?;
    let woken = settled_bytes(&server, &[small, large], || Ok(()))?;
    Ok([written, closed, taken(&server, &operator, (woken, before))?])
}

/// A node with a small tenant of the same kind awake, whose log is closed, and what it takes.
fn node(cluster: &Cluster, shape: &Shape) -> Outcome<(Server, usize)> {
    let server = cluster.node(&FLAGS)?;
    let small = cluster.keys[0].expose();
    warm_up(&server, small, shape)?;
    let before = closed_bytes(&server, &[small])?;
    Ok((server, before))
}

/// What a server takes for requests of such a size of any tenant is there: buffers, and what its allocator holds
/// back for each thread.
fn warm_up(server: &Server, key: &str, shape: &Shape) -> Outcome<()> {
    let mut client = server.client(key)?;
    // Unless it is there already.
    client.send("POST", "/collections", &(shape.collection)().to_string())?;
    write(&mut client, shape, WARMING_RECORDS.min(shape.records / 2))?;
    for _ in 0..100 {
        client.call("POST", "/collections/measured/search", &(shape.search)().to_string())?;
    }
    Ok(())
}

fn taken(server: &Server, operator: &ApiKey, (now, before): (usize, usize)) -> Outcome<Measured> {
    let tenants = server.client(operator.expose())?.call("GET", "/cluster/tenants", "")?;
    let of_tenant = |name: &str| {
        let tenants = tenants["tenants"].as_array()?;
        tenants.iter().find(|tenant| tenant["id"] == name)?["memory_bytes"].as_u64()
    };
    let counted = of_tenant("t1").ok_or("the tenant is not listed")?;
    Ok(Measured { added: now.saturating_sub(before), counted: usize::try_from(counted)? })
}

/// Has it end by itself, so that what wakes is read from where it was closed.
fn stop(mut server: Server) {
    server.signal("TERM");
    server.wait();
}

/// Its resident memory, once all is linked and it does not become less any more, with the tenants of these keys awake.
fn settled_bytes(
    server: &Server,
    keys: &[&str],
    mut each_second: impl FnMut() -> Outcome<()>,
) -> Outcome<usize> {
    let mut lowest = usize::MAX;
    let mut since = 0;
    while since < 4 {
        each_second()?;
        let is_linking = touch(server, keys)?;
        let now = resident_bytes(server)?;
        since = if is_linking || now + now / 200 < lowest { 0 } else { since + 1 };
        lowest = if is_linking { now } else { lowest.min(now) };
    }
    Ok(lowest)
}

/// The same with all logs closed, after a while without a write.
fn closed_bytes(server: &Server, keys: &[&str]) -> Outcome<usize> {
    for _ in 0..LOG_IDLE_SECONDS {
        touch(server, keys)?;
    }
    settled_bytes(server, keys, || Ok(()))
}

/// Waits for a second, and asks something of each tenant: an allocator that gives back what is free does so when it
/// is used. Whether something is still to be linked.
fn touch(server: &Server, keys: &[&str]) -> Outcome<bool> {
    std::thread::sleep(Duration::from_secs(1));
    let mut is_linking = false;
    for key in keys {
        for _ in 0..20 {
            let collection = server.client(key)?.call("GET", "/collections/measured", "")?;
            is_linking |= collection["index"]["state"] == "linking";
        }
    }
    Ok(is_linking)
}

fn resident_bytes(server: &Server) -> Outcome<usize> {
    let pages = fs::read_to_string(format!("/proc/{}/statm", server.id()))?;
    let resident: usize = pages.split(' ').nth(1).ok_or("no statm")?.parse()?;
    Ok(resident * PAGE)
}

fn collection(dimension: usize) -> Value {
    json!({"name": "measured", "dimension": dimension, "metric": "cosine"})
}

fn create(client: &mut Client, collection: &Value) -> Outcome<()> {
    client.call("POST", "/collections", &collection.to_string()).map(drop)
}

fn write(client: &mut Client, shape: &Shape, count: usize) -> Outcome<()> {
    let mut random = Random::new(1);
    for first in (0..count).step_by(RECORDS_PER_WRITE) {
        let range = first..count.min(first + RECORDS_PER_WRITE);
        let records: Vec<Value> = range.map(|number| (shape.record)(number, &mut random)).collect();
        let body = json!({"vectors": records}).to_string();
        // Writes come at the pace of linking.
        while client.send("PUT", "/collections/measured/vectors", &body)? == 503 {}
    }
    Ok(())
}

fn write_singly(server: &Server, key: &str, shape: &Shape) -> Outcome<()> {
    together(CONNECTIONS, |connection| {
        let mut client = server.client(key)?;
        let mut random = Random::new(connection as u64);
        for number in (connection..shape.records).step_by(CONNECTIONS) {
            let body = json!({"vectors": [(shape.record)(number, &mut random)]}).to_string();
            let header = format!("Idempotency-Key: request-{:016x}-{number}\r\n", random.next());
            let path = "/api/v1/collections/measured/vectors";
            let status = client.send_at("PUT", path, &header, &body)?;
            if status >= 300 {
                return Err(format!("{status}: {}", String::from_utf8_lossy(&client.body)).into());
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn record(number: usize, random: &mut Random, dimension: usize) -> Value {
    let vector: Vec<f64> = (0..dimension).map(|_| unit(random)).collect();
    json!({"id": format!("record-{number}"), "vector": vector})
}

fn with(mut record: Value, payload: Value) -> Value {
    record["payload"] = payload;
    record
}

fn vector_search(dimension: usize) -> Value {
    json!({"vector": Workload::new(dimension).vector()})
}

/// Fifty words: common ones, and of a quarter million others one in four.
fn text(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..50 {
        let vocabulary = if random.below(4) == 0 { 250_000 } else { 2_000 };
        let _ = write!(text, "w{} ", random.below(vocabulary));
    }
    text
}

/// A number between -1 and 1, in six digits.
#[expect(clippy::cast_precision_loss, reason = "so few digits fit")]
fn unit(random: &mut Random) -> f64 {
    random.below(2_000_000) as f64 / 1e6 - 1.0
}
