//! The whole way from socket to answer: writing, searching, and searching while another client writes, from the
//! start or since a while.
//!
//! Starts a server of its own (two tenants, keys, real files) in a temporary folder and speaks HTTP to it
//! over plain connections. Server and clients share the machine.
//!
//! ```text
//! cargo build --release && cargo bench --bench serving -- ../shared/data/glove-100
//! ```
#![expect(clippy::print_stdout, reason = "what it is for")]

#[path = "support/client.rs"]
mod client;
#[path = "support/npy.rs"]
mod npy;
#[expect(dead_code, unused_imports, reason = "the other measurements use more of it")]
mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Server};
use npy::Matrix;
use serde_json::Value;
use support::{Outcome, number};
use tempfile::TempDir;

const CONNECTIONS: usize = 8;
const VECTORS_PER_BATCH: usize = 500;
/// The vectors of a load.
const LOADED: usize = 100_000;
/// More than are written in a round.
const WRITTEN_MAX: usize = 250_000;
const SEARCHING: Duration = Duration::from_secs(10);
/// Rounds of the open loop, without and with a writer in turn.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(10);
/// How long a writer has been alone when searches come after a burst.
const BURST: Duration = Duration::from_secs(3);
/// Of what the closed loop reached.
const RATE_SHARE: f64 = 0.1;
const EF: usize = 64;

fn main() -> Outcome<()> {
    let Some(folder) = std::env::args().skip(1).find(|argument| argument != "--bench") else {
        println!("nothing measured: give a folder with base.npy, queries.npy and neighbours.npy");
        return Ok(());
    };
    let folder = Path::new(&folder);
    let base = Matrix::read(&folder.join("base.npy"))?;
    let queries = Matrix::read(&folder.join("queries.npy"))?;
    let neighbours: Matrix<i32> = Matrix::read(&folder.join("neighbours.npy"))?;
    let server = Node::start()?;
    let mut client = server.client()?;
    for _ in 0..ROUNDS {
        load(&mut client, &base, LOADED)?;
        client.call("DELETE", "/collections/w", "")?;
    }
    load(&mut client, &base, base.rows)?;

    let searches: Vec<String> = (0..queries.rows).map(|query| search(queries.row(query))).collect();
    println!("recall@10 at ef {EF}: {:.3}", recall(&mut client, &searches, &neighbours)?);
    let rate = closed_loop(&server, &searches)?;
    println!("searching, {CONNECTIONS} connections: {rate:.0} searches/s");
    match wrk(&server, &searches)? {
        Some(line) => println!("the same by wrk: {line}"),
        None => println!("SKIPPED: wrk is not installed"),
    }

    let rate = rate * RATE_SHARE;
    let mut alone = Vec::new();
    let (mut beside, mut after) = (Beside::default(), Beside::default());
    for round in 0..ROUNDS {
        alone.extend(open_loop(&server, &searches, rate)?);
        let written = (2 * round + 1) * WRITTEN_MAX;
        beside.measure(&server, &searches, rate, &batches(&base, written, WRITTEN_MAX), Duration::ZERO)?;
        let written = written + WRITTEN_MAX;
        after.measure(&server, &searches, rate, &batches(&base, written, WRITTEN_MAX), BURST)?;
    }
    let [alone_50, alone_99] = quantiles(&mut alone);
    println!("open loop, {rate:.0} searches/s: p50 {alone_50:.2} ms, p99 {alone_99:.2} ms");
    for (what, beside) in [("all the while", &mut beside), ("since 3 s before", &mut after)] {
        let [beside_50, beside_99] = quantiles(&mut beside.latencies);
        println!(
            "while another client writes, {what}: p50 {beside_50:.2} ms, p99 {beside_99:.2} ms, {:.1} times; \
             vectors/s {:.0?}",
            beside_99 / alone_99,
            beside.ingested
        );
    }
    Ok(())
}

/// Searches beside a writer.
#[derive(Default)]
struct Beside {
    latencies: Vec<f64>,
    /// Vectors a second, round by round, from the first search on.
    ingested: Vec<f64>,
}

impl Beside {
    /// One round, in which the writer begins so long before the searches.
    fn measure(
        &mut self,
        server: &Node,
        searches: &[String],
        rate: f64,
        batches: &[String],
        before: Duration,
    ) -> Outcome<()> {
        let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (latencies, ingested, done) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_until(server, batches, &stop, &written));
            std::thread::sleep(before);
            let (started, first) = (Instant::now(), written.load(Ordering::Relaxed));
            let latencies = open_loop(server, searches, rate);
            let vectors = written.load(Ordering::Relaxed) - first;
            let ingested = number(vectors) / started.elapsed().as_secs_f64();
            stop.store(true, Ordering::Relaxed);
            (latencies, ingested, writer.join())
        });
        done.map_err(|_| "the writer panicked")??;
        self.latencies.extend(latencies?);
        self.ingested.push(ingested);
        // Another connection: the server closes those that are idle for long.
        until_linked(&mut server.client()?)
    }
}

/// Makes the collection and writes as many vectors.
fn load(client: &mut Client, base: &Matrix<f32>, vectors: usize) -> Outcome<()> {
    let collection = format!(r#"{{"name":"w","dimension":{},"metric":"cosine"}}"#, base.columns);
    client.call("POST", "/collections", &collection)?;
    let batches = batches(base, 0, vectors);
    let started = Instant::now();
    let mut burst = None;
    for (sent, batch) in (1..).zip(&batches) {
        client.call("PUT", "/collections/w/vectors", batch)?;
        if burst.is_none() && started.elapsed() >= Duration::from_millis(400) {
            burst = Some(number(sent * VECTORS_PER_BATCH) / started.elapsed().as_secs_f64());
        }
    }
    let written = started.elapsed().as_secs_f64();
    until_linked(client)?;
    let linked = started.elapsed().as_secs_f64();
    println!(
        "writing {vectors} vectors, {VECTORS_PER_BATCH} a request, one connection: {:.0} vectors/s at first, \
         {:.0} in all, linked after {linked:.1} s",
        burst.unwrap_or(0.0),
        number(vectors) / written
    );
    Ok(())
}

fn until_linked(client: &mut Client) -> Outcome<()> {
    while client.call("GET", "/collections/w", "")?["index"]["state"] != "linked" {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn search(query: &[f32]) -> String {
    format!(r#"{{"vector":{},"limit":10,"ef":{EF},"with_payload":false}}"#, numbers(query))
}

fn numbers(vector: &[f32]) -> String {
    let mut text = String::from("[");
    for (at, value) in vector.iter().enumerate() {
        let _ = write!(text, "{}{value}", if at == 0 { "" } else { "," });
    }
    text + "]"
}

/// The bodies that write so many vectors, under ids from `first` on: first the rows, then what lies between
/// two of them, as copies are cheaper to link than vectors are.
fn batches(base: &Matrix<f32>, first: usize, vectors: usize) -> Vec<String> {
    let vector = |id: usize| {
        let (row, round) = (id % base.rows, id / base.rows);
        let other = (row + round * 7_919) % base.rows;
        let between: Vec<f32> = base
            .row(row)
            .iter()
            .zip(base.row(other))
            .map(|(one, other)| f32::midpoint(*one, *other))
            .collect();
        numbers(&between)
    };
    let point = |id: &usize| format!(r#"{{"id":"{id}","vector":{}}}"#, vector(*id));
    let batch =
        |ids: &[usize]| format!(r#"{{"vectors":[{}]}}"#, ids.iter().map(point).collect::<Vec<_>>().join(","));
    let ids: Vec<usize> = (first..first + vectors).collect();
    ids.chunks(VECTORS_PER_BATCH).map(batch).collect()
}

fn recall(client: &mut Client, searches: &[String], neighbours: &Matrix<i32>) -> Outcome<f64> {
    let mut right = 0;
    for (query, search) in searches.iter().enumerate() {
        let found = client.call("POST", "/collections/w/search", search)?;
        let nearest = &neighbours.row(query)[..10];
        for hit in found["results"].as_array().into_iter().flatten() {
            let id: i32 = hit["id"].as_str().unwrap_or_default().parse()?;
            right += usize::from(nearest.contains(&id));
        }
    }
    Ok(number(right) / number(searches.len() * 10))
}

/// Every connection asks as soon as it has its answer; searches a second.
fn closed_loop(server: &Node, searches: &[String]) -> Outcome<f64> {
    let answered = AtomicUsize::new(0);
    let started = Instant::now();
    let ask = |connection: usize| {
        let mut client = server.client().map_err(|error| error.to_string())?;
        for search in searches.iter().cycle().skip(connection * 37) {
            if started.elapsed() >= SEARCHING {
                break;
            }
            client.send("POST", "/collections/w/search", search).map_err(|error| error.to_string())?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<(), String>(())
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..CONNECTIONS).map(|connection| scope.spawn(move || ask(connection))).collect();
        asking.into_iter().try_for_each(|asking| asking.join().map_err(|_| "panicked".to_owned())?)
    })?;
    Ok(number(answered.into_inner()) / started.elapsed().as_secs_f64())
}

/// The same by `wrk`, whose client takes less of the machine; what it says of requests a second.
fn wrk(server: &Node, searches: &[String]) -> Outcome<Option<String>> {
    let folder = TempDir::new()?;
    let [bodies, script] = ["bodies", "search.lua"].map(|name| folder.path().join(name));
    std::fs::write(&bodies, searches.join("\n"))?;
    let lua = format!(
        "local bodies, next = {{}}, 0\n\
         for line in io.lines('{}') do bodies[#bodies + 1] = line end\n\
         wrk.headers['Authorization'] = 'Bearer {}'\n\
         wrk.headers['Content-Type'] = 'application/json'\n\
         request = function()\n\
         next = next % #bodies + 1\n\
         return wrk.format('POST', '/api/v1/collections/w/search', nil, bodies[next])\n\
         end\n",
        bodies.display(),
        server.key
    );
    std::fs::write(&script, lua)?;
    let url = format!("http://{}", server.server.address);
    let seconds = format!("{}s", SEARCHING.as_secs());
    let output = Command::new("wrk")
        .args(["-t2", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}"), "-s"])
        .arg(&script)
        .arg(url)
        .output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        output => {
            let text = String::from_utf8(output?.stdout)?;
            let said = |line: &&str| line.contains("Requests/sec") || line.contains("Non-2xx");
            Ok(Some(text.lines().filter(said).map(str::trim).collect::<Vec<_>>().join(", ")))
        }
    }
}

/// Searches begin at fixed times, whether or not earlier ones are answered; the time of each in
/// milliseconds from when it should have begun.
fn open_loop(server: &Node, searches: &[String], rate: f64) -> Outcome<Vec<f64>> {
    let started = Instant::now();
    let ask = |connection: usize| {
        let mut client = server.client().map_err(|error| error.to_string())?;
        let mut times = Vec::new();
        for turn in 0.. {
            let nth = turn * CONNECTIONS + connection;
            let due = started + Duration::from_secs_f64(number(nth) / rate);
            if due > started + ROUND {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let search = &searches[nth % searches.len()];
            client.send("POST", "/collections/w/search", search).map_err(|error| error.to_string())?;
            times.push(due.elapsed().as_secs_f64() * 1e3);
        }
        Ok::<_, String>(times)
    };
    let times = std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..CONNECTIONS).map(|connection| scope.spawn(move || ask(connection))).collect();
        asking
            .into_iter()
            .map(|asking| asking.join().map_err(|_| "panicked".to_owned())?)
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(times.concat())
}

/// Writes new vectors as fast as they are taken, and counts them.
fn write_until(
    server: &Node,
    batches: &[String],
    stop: &AtomicBool,
    written: &AtomicUsize,
) -> Result<(), String> {
    let mut client = server.client().map_err(|error| error.to_string())?;
    for batch in batches {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // A 503 asks for patience, which is a way of coming at the pace of linking.
        let status =
            client.send("PUT", "/collections/w/vectors", batch).map_err(|error| error.to_string())?;
        if status < 300 {
            written.fetch_add(VECTORS_PER_BATCH, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// The median and the 99th percentile.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
fn quantiles(times: &mut [f64]) -> [f64; 2] {
    times.sort_unstable_by(f64::total_cmp);
    [0.5, 0.99].map(|share| times[(number(times.len() - 1) * share) as usize])
}

/// A server with a tenant, and that tenant's key.
struct Node {
    server: Server,
    key: String,
    _data: TempDir,
}

impl Node {
    fn start() -> Outcome<Self> {
        let data = TempDir::new()?;
        let server = Server::start(&["dev", "--hub-listen", "127.0.0.1:0"], data.path())?;
        let keys: Value = serde_json::from_slice(&std::fs::read(data.path().join("dev-keys.json"))?)?;
        let key = keys["tenants"][0]["keys"]["admin"].as_str().ok_or("no key")?.to_owned();
        Ok(Self { server, key, _data: data })
    }

    fn client(&self) -> Outcome<Client> {
        self.server.client(&self.key)
    }
}
