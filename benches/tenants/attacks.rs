//! What a tenant's small requests take, and what the node takes up, while another tenant attacks it from 64
//! connections.
//!
//! The attacker is a process of its own at niceness 19: it stands for clients on other machines. Where the system
//! groups processes by session, niceness is without effect between them (`sysctl kernel.sched_autogroup_enabled=0`).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use super::client::{Client, Server};
use super::cluster::{Cluster, GENEROUS, together};
use super::support::Outcome;
use super::support::workload::Workload;
use super::{Scale, at_a_rate, encoded, fill, mebibytes, quantile};

/// The first argument of the process that attacks.
pub(crate) const ATTACKER: &str = "attacker";

const CONNECTIONS: usize = 64;
const BODY_BYTES: usize = 32 << 20;
const MESSAGE_BYTES: usize = 4 << 20;
/// The node's budget for tenants, and what it may take up beside that.
const BUDGET_BYTES: &str = "1073741824";
const BUDGET_MEBIBYTES: f64 = 1_024.0;
const BESIDE_MEBIBYTES: f64 = 1_000.0 * 1_000.0 * 1_000.0 / (1024.0 * 1024.0);
/// Requests a second of the one that is attacked: searches and upserts in turn.
const RATE: usize = 100;
/// What is promised: the larger of this and five times as long as alone.
const PROMISED: Duration = Duration::from_millis(20);
const TIMES_ALONE: u32 = 5;

/// What is sent again and again over each connection.
struct Attack {
    name: &'static str,
    /// One after the other.
    requests: Vec<Request>,
}

struct Request {
    method: &'static str,
    path: String,
    body: String,
    /// How many bytes are left out at the end, after which the connection is held.
    held_back: usize,
}

impl Request {
    fn whole(method: &'static str, path: impl Into<String>, body: String) -> Self {
        Self { method, path: path.into(), body, held_back: 0 }
    }

    fn unfinished(method: &'static str, path: impl Into<String>, body: String) -> Self {
        Self { held_back: 1, ..Self::whole(method, path, body) }
    }

    fn written(&self, key: &str) -> Vec<u8> {
        let Self { method, path, body, held_back } = self;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nAccept: application/json, \
             text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        request.truncate(request.len() - held_back);
        request
    }
}

/// `piece` again and again between `begin` and `end`, of about so many bytes.
fn repeated(bytes: usize, begin: &str, piece: &str, end: &str) -> String {
    let times = (bytes - begin.len() - end.len()) / (piece.len() + 1);
    format!("{begin}{}{end}", vec![piece; times].join(","))
}

/// An upsert of `count` points that `point` writes.
fn upsert(count: usize, point: impl Fn(usize) -> String) -> String {
    format!(r#"{{"vectors":[{}]}}"#, (0..count).map(point).collect::<Vec<_>>().join(","))
}

fn attacks() -> Vec<Attack> {
    const COUNT: &str = "/api/v1/collections/none/count";
    const BATCH: &str = "/api/v1/collections/none/search/batch";
    const LINE: &str = "/api/v1/collections/line/vectors";
    let filter = repeated(BODY_BYTES, r#"{"filter":{"must":["#, r#"{"":0}"#, "]}}");
    let searches = repeated(BODY_BYTES, r#"{"searches":["#, r#"{"vector":[0.1,0.2,0.3,0.4]}"#, ",5]}");
    let call = |tool: &str, arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        )
    };
    let wide =
        repeated(MESSAGE_BYTES - 1_024, r#"{"collection":"none","filter":{"must":["#, r#"{"":0}"#, "]}}");
    let message = call("count", &wide);
    let points = upsert(100_000, |at| format!(r#"{{"id":"{at}","vector":[1]}}"#));
    let paths = upsert(2_000, |at| {
        let fields: Vec<String> = (0..100).map(|path| format!(r#""p{path}":"{at} {path}""#)).collect();
        format!(r#"{{"id":"{at}","vector":[1],"payload":{{{}}}}}"#, fields.join(","))
    });
    let long_path = format!("/health?{}", "x".repeat(30 << 10));
    let everything = r#"{"all":true}"#.to_owned();
    let by_filter = r#"{"filter":{"must_not":[{"key":"none","match":{"value":1}}]}}"#.to_owned();
    let delete = "/api/v1/collections/line/vectors/delete";
    let attack = |name, requests| Attack { name, requests };
    vec![
        attack("counts by filters of 32 MiB", vec![Request::whole("POST", COUNT, filter)]),
        attack("batches of 32 MiB, wrong at the end", vec![Request::whole("POST", BATCH, searches.clone())]),
        attack("the same, unfinished", vec![Request::unfinished("POST", BATCH, searches)]),
        attack("messages of 4 MiB", vec![Request::whole("POST", "/mcp", message.clone())]),
        attack("the same, unfinished", vec![Request::unfinished("POST", "/mcp", message)]),
        attack(
            "100,000 points, deleted by a filter",
            vec![
                Request::whole("PUT", LINE, points),
                Request::whole("POST", delete, by_filter),
                Request::whole("POST", delete, everything),
            ],
        ),
        attack("payloads of 100 fields", vec![Request::whole("PUT", LINE, paths)]),
        attack(
            "heads of 30 KiB, unfinished",
            // Without the two ends of lines that end it.
            vec![Request { held_back: 4, ..Request::whole("GET", long_path, String::new()) }],
        ),
    ]
}

pub(crate) fn measure(scale: Scale) -> Outcome<()> {
    let length = Duration::from_secs(scale.of(20, 2) as u64);
    let cluster = Cluster::new(2, GENEROUS)?;
    let node = cluster.node(&["--memory-budget", BUDGET_BYTES])?;
    fill(&mut node.client(cluster.keys[0].expose())?, 1_000, "")?;
    let line = r#"{"name":"line","dimension":1,"metric":"euclidean"}"#;
    node.client(cluster.keys[1].expose())?.call("POST", "/collections", line)?;
    let rounds = scale.of(2, 1);
    for attack in attacks() {
        let (mut alone, mut beside, mut failed) = (Times::default(), Times::default(), 0);
        for _ in 0..rounds {
            let quiet = requests(&node, cluster.keys[0].expose(), length)?;
            alone.extend(quiet);
            let attacker = attack.begin(&node, cluster.keys[1].expose(), cluster.folder.path())?;
            std::thread::sleep(Duration::from_secs(1));
            let times = requests(&node, cluster.keys[0].expose(), length)?;
            failed += times.failed;
            beside.extend(times);
            drop(attacker);
        }
        let memory = mebibytes(&node, "VmHWM")?;
        let held = memory < BUDGET_MEBIBYTES + BESIDE_MEBIBYTES;
        for (what, alone, beside) in [
            ("searches", &mut alone.searches, &mut beside.searches),
            ("upserts", &mut alone.upserts, &mut beside.upserts),
        ] {
            alone.sort_unstable();
            beside.sort_unstable();
            let [alone, beside] = [&*alone, &*beside].map(|times| quantile(times, 99));
            let is_kept = beside <= PROMISED.max(alone * TIMES_ALONE);
            println!(
                "{}: {what} p99 {beside:.1?}, alone {alone:.1?}, ratio {:.1}{}",
                attack.name,
                beside.as_secs_f64() / alone.as_secs_f64(),
                if is_kept { "" } else { "  TOO LONG" },
            );
        }
        println!(
            "    {failed} refused; at most {memory:.0} MiB so far{}",
            if held { "" } else { "  TOO MUCH" }
        );
    }
    Ok(())
}

impl Attack {
    fn begin(&self, node: &Server, key: &str, folder: &Path) -> Outcome<Attacker> {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe()?).args([ATTACKER, &node.address]);
        for (nth, request) in self.requests.iter().enumerate() {
            let path = folder.join(format!("request-{nth}"));
            std::fs::write(&path, request.written(key))?;
            command.arg(path).arg(request.held_back.to_string());
        }
        Ok(Attacker(command.spawn()?))
    }
}

/// It ends with this.
struct Attacker(Child);

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Attacks for ever: an address, then files of requests and whether each is held back.
pub(crate) fn attack(arguments: &[String]) -> Outcome<()> {
    let (address, requests) = arguments.split_first().ok_or("no address")?;
    let mut read = Vec::new();
    for request in requests.chunks(2) {
        let [path, held_back] = request else { return Err("a request without its kind".into()) };
        read.push((std::fs::read(path)?, held_back != "0"));
    }
    together(CONNECTIONS, |_| {
        loop {
            // It ends when it is refused, or when it has been held for too long.
            let _ = converse(address, &read);
        }
    })
    .map(|_: Vec<()>| ())
}

/// Sends them over one connection as often as it goes.
fn converse(address: &str, requests: &[(Vec<u8>, bool)]) -> Outcome<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut answer = vec![0; 64 * 1024];
    for (request, is_held) in requests.iter().cycle() {
        stream.write_all(request)?;
        loop {
            let read = stream.read(&mut answer)?;
            if read == 0 {
                return Ok(());
            }
            // Small answers come in one piece.
            if !is_held {
                break;
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Times {
    searches: Vec<Duration>,
    upserts: Vec<Duration>,
    failed: usize,
}

impl Times {
    fn extend(&mut self, more: Self) {
        self.searches.extend(more.searches);
        self.upserts.extend(more.upserts);
        self.failed += more.failed;
    }
}

/// Small requests at a fixed rate.
fn requests(node: &Server, key: &str, length: Duration) -> Outcome<Times> {
    let prepare = |nth: usize, workload: &mut Workload| {
        let vector = encoded(workload);
        if nth.is_multiple_of(2) {
            return (true, "POST", "search", format!(r#"{{"vector":"{vector}","limit":10}}"#));
        }
        let id = nth % 1_000;
        (false, "PUT", "vectors", format!(r#"{{"vectors":[{{"id":"v{id}","vector":"{vector}"}}]}}"#))
    };
    let send = |client: &mut Client, (is_search, method, path, body): (bool, &str, &str, String)| {
        Ok((is_search, client.send(method, &format!("/collections/w/{path}"), &body)?))
    };
    let mut times = Times::default();
    for (time, (is_search, status)) in at_a_rate(node, key, RATE, length, prepare, send)? {
        times.failed += usize::from(status >= 300);
        if is_search { &mut times.searches } else { &mut times.upserts }.push(time);
    }
    Ok(times)
}
