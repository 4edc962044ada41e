//! A server process, and a client of it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use aho_corasick::AhoCorasick;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use vectorizer_testing::{PATIENCE, ServerProcess, Wait};

use super::described::{Asked, assert_described};
use super::secrets::{self, Searched};

/// Everything is logged, so that a secret is found wherever it is logged.
const LOG_FILTER: &str = "trace";

/// A server process, killed when dropped. Then nothing that it has printed or stored may hold a secret.
pub(crate) struct Node {
    process: ServerProcess,
    is_dev: bool,
    pub(crate) data: PathBuf,
    /// What it prints to standard error.
    stderr: NamedTempFile,
}

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The ADMIN key of this tenant, by number.
    Admin(usize),
    /// Its `READ_WRITE` key.
    ReadWrite(usize),
    /// Its `READ_ONLY` key.
    ReadOnly(usize),
    /// Its MCP key.
    Mcp(usize),
    /// The operator's.
    Operator,
}

/// The first demo tenant's administrator.
pub(crate) const ACME: Key = Key::Admin(0);
/// The second's.
pub(crate) const GLOBEX: Key = Key::Admin(1);

impl Node {
    /// `vectorizer dev` in `data`, on ports of its own.
    pub(crate) fn dev(data: &Path) -> Self {
        Self::start("dev", data, &["--hub-listen", "127.0.0.1:0"])
    }

    /// `vectorizer serve` in `data`: one tenant, no keys.
    pub(crate) fn serve(data: &Path) -> Self {
        Self::start("serve", data, &[])
    }

    /// The same, where no file may grow beyond so many bytes: the write that would fails.
    pub(crate) fn dev_with_file_limit(data: &Path, bytes: u64) -> Self {
        // In blocks of 512 bytes; without the trap the signal would end the process.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
        let mut limited = Command::new("sh");
        // What it says is in a file, too.
        limited.args(["-c", &script, env!("CARGO_BIN_EXE_vectorizer")]).env("VECTORIZER_LOG", "warn");
        Self::spawn(limited, "dev", data, &["--hub-listen", "127.0.0.1:0"])
    }

    /// `vectorizer serve` that logs what this filter says.
    pub(crate) fn serve_logging(data: &Path, filter: &str) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_vectorizer"));
        program.env("VECTORIZER_LOG", filter);
        Self::spawn(program, "serve", data, &[])
    }

    /// `vectorizer hub` in `data`, begun with the demo's tenants if it is not yet.
    pub(crate) fn hub(data: &Path, flags: &[&str]) -> Self {
        if !vectorizer_hub::Hub::is_in(&data.join("_hub")) {
            let begun = vectorizer(["hub", "init", "--demo", "--data-dir", data.to_str().unwrap()]);
            assert!(begun.status.success(), "{begun:?}");
        }
        Self::start("hub", data, flags)
    }

    /// A server command with these flags beside the folder and a free port.
    pub(crate) fn start(command: &str, data: &Path, flags: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_vectorizer")), command, data, flags)
    }

    /// The same with another program, which may have an environment of its own.
    pub(crate) fn spawn(mut program: Command, command: &str, data: &Path, flags: &[&str]) -> Self {
        std::fs::create_dir_all(data).unwrap();
        secrets::watch_flags(flags);
        let stderr = NamedTempFile::new().unwrap();
        if program.get_envs().all(|(name, _)| name != "VECTORIZER_LOG") {
            program.env("VECTORIZER_LOG", LOG_FILTER);
        }
        let is_dev = command == "dev";
        program
            .args([command, "--data-dir"])
            .arg(data)
            .args(if flags.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .args(flags)
            .current_dir(data)
            .env_remove("HIVEHUB_API_KEY")
            .stderr(stderr.reopen().unwrap());
        let process = ServerProcess::start(&mut program, |line| url(line, is_dev))
            .unwrap_or_else(|error| panic!("{error}\n{}", complaints(stderr.path())));
        // Its keys are known before a request shows one of them.
        secrets::watch_keys_of(data);
        Self { process, is_dev, data: data.to_owned(), stderr }
    }

    /// The file that has what it says on stderr.
    pub(crate) fn stderr(&self) -> &Path {
        self.stderr.path()
    }

    /// Whether one line of its log contains all of these. Unlike a state that a request shows, a line stays.
    pub(crate) fn has_logged(&self, parts: &[&str]) -> bool {
        self.line_with(parts).is_some()
    }

    /// The first line of its log that contains all of these.
    pub(crate) fn logged(&self, parts: &[&str]) -> Option<Value> {
        self.line_with(parts).map(|line| serde_json::from_str(&line).unwrap())
    }

    fn line_with(&self, parts: &[&str]) -> Option<String> {
        // The log is large, and this search is compiled with optimization.
        let logged = std::fs::read(self.stderr()).unwrap();
        let search = AhoCorasick::new([parts[0]]).unwrap();
        search.find_iter(&logged).find_map(|found| {
            let start =
                logged[..found.start()].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let line = logged[start..].split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            parts.iter().all(|part| line.contains(part)).then(|| line.into_owned())
        })
    }

    /// Kills the process (SIGKILL) and waits until it has ended.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// The process id.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Waits until the process ends by itself; whether it ended well.
    pub(crate) fn ended(mut self) -> bool {
        self.process.wait().success()
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        assert!(self.ended(), "the server did not end well");
    }

    /// The most memory that it has had so far.
    pub(crate) fn peak_kibibytes(&self) -> u64 {
        self.process.memory_kibibytes("VmHWM").unwrap()
    }

    pub(crate) fn url(&self) -> &str {
        self.process.url()
    }

    /// The text of a key.
    pub(crate) fn key(&self, key: Key) -> String {
        let keys: Value =
            serde_json::from_slice(&std::fs::read(self.data.join("dev-keys.json")).unwrap()).unwrap();
        let (tenant, level) = match key {
            Key::Operator => return keys["operator"].as_str().unwrap().to_owned(),
            Key::Admin(tenant) => (tenant, "admin"),
            Key::ReadWrite(tenant) => (tenant, "read_write"),
            Key::ReadOnly(tenant) => (tenant, "read_only"),
            Key::Mcp(tenant) => (tenant, "mcp"),
        };
        keys["tenants"][tenant]["keys"][level].as_str().unwrap().to_owned()
    }

    /// A client with this key.
    pub(crate) fn client(&self, key: Key) -> Client {
        Client { http: http(), base: format!("{}/api/v1", self.url()), key: Some(self.key(key)) }
    }

    /// Sends these bytes as they are and reads the answer: for what no honest client would send. The
    /// head has to ask for `Connection: close`.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        Self::raw_at(self.authority(), request)
    }

    /// The same, to another of the node's listeners.
    pub(crate) fn raw_at(authority: &str, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer::parse(&answer)
    }

    /// Address and port.
    pub(crate) fn authority(&self) -> &str {
        self.url().split_once("://").unwrap().1
    }

    /// A client without a key.
    pub(crate) fn keyless(&self) -> Client {
        Client { http: http(), base: format!("{}/api/v1", self.url()), key: None }
    }

    /// The same, from this address of the machine's loopback.
    pub(crate) fn keyless_from(&self, address: IpAddr) -> Client {
        let http = vectorizer_http_client::client().timeout(PATIENCE).no_proxy().local_address(address);
        Client { http: http.build().unwrap(), ..self.keyless() }
    }
}

/// The address in a line that a server prints when it listens.
fn url(line: &str, is_dev: bool) -> Option<String> {
    let starts = ["http://127.0.0.1:", "https://127.0.0.1:", "http://0.0.0.0:"];
    let is_address = |word: &&str| starts.iter().any(|start| word.starts_with(start));
    // `dev` prints the address of its HiveHub, too.
    let found = line.split_whitespace().filter(is_address).find(|word| !is_dev || word.ends_with("/api/v1"));
    found.map(|url| url.trim_end_matches([',', '/']).trim_end_matches("/api/v1").to_owned())
}

impl Drop for Node {
    fn drop(&mut self) {
        let printed = self.process.kill_and_read();
        if std::thread::panicking() {
            eprintln!("{}", complaints(self.stderr()));
            return;
        }
        // `dev` shows the keys on the terminal, once.
        let lines = printed.iter().filter(|line| !(self.is_dev && secrets::is_shown_key(line)));
        for line in lines {
            secrets::are_not_in("stdout", line.as_bytes());
        }
        let on_stderr = File::open(self.stderr()).and_then(secrets::found_in).unwrap();
        assert_eq!(on_stderr, None, "stderr holds a part of a secret");
        drop(Searched(self.data.clone()));
    }
}

/// What a server has complained about: all that it says for people, beside what it only traces.
fn complaints(stderr: &Path) -> String {
    let said = std::fs::read(stderr).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let is_traced = |line: &str| {
        ["TRACE", "DEBUG", "INFO"].iter().any(|it| line.contains(&format!("\"level\":\"{it}\"")))
    };
    let lines: Vec<&str> = said.lines().filter(|line| !is_traced(line)).take(200).collect();
    lines.join("\n")
}

/// A client of no node in particular.
pub(crate) fn http() -> reqwest::Client {
    vectorizer_http_client::client().timeout(PATIENCE).no_proxy().build().unwrap()
}

/// Runs the command to its end.
pub(crate) fn vectorizer<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    secrets::watch_flags(&arguments);
    let output = Command::new(env!("CARGO_BIN_EXE_vectorizer"))
        .args(&arguments)
        .env("VECTORIZER_LOG", LOG_FILTER)
        .output()
        .unwrap();
    // A new key is printed, this once.
    if !["keys", "service-key", "init"].iter().any(|command| arguments.contains(command)) {
        secrets::are_not_in("stdout", &output.stdout);
    }
    secrets::are_not_in("stderr", &output.stderr);
    output
}

/// Talks to one node with one key.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// An answer, read.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        secrets::are_not_in("an answer", &body);
        secrets::are_not_in("an answer's head", format!("{headers:?}").as_bytes());
        Self { status, headers, body: json_or_text(&body) }
    }

    /// Takes a whole answer apart.
    fn parse(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let mut head = std::str::from_utf8(&answer[..end]).unwrap().split("\r\n");
        let status = head.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers = head.map(header).collect();
        Self { status, headers, body: json_or_text(&answer[end + 4..]) }
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The code of a problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        assert_eq!(self.body["status"], self.status.as_u16());
        assert_eq!(self.body["request_id"].as_str().unwrap(), self.headers["x-request-id"]);
        self.body["type"].as_str().unwrap().strip_prefix("urn:vectorizer:problem:").unwrap()
    }

    /// The detail of a problem.
    #[track_caller]
    pub(crate) fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap()
    }
}

impl Client {
    /// A request to a path below `/api/v1`, to be completed.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// A request to a whole path, without a key of the client's own.
    pub(crate) fn request_at(&self, method: Method, path: &str) -> RequestBuilder {
        let root = self.base.strip_suffix("/api/v1").unwrap();
        self.http.request(method, format!("{root}{path}"))
    }

    /// Sends it, and holds it and its answer against the description of the server.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let (http, request) = request.build_split();
        let request = request.unwrap();
        let asked = Asked::of(&request);
        let answer = Answer::read(http.execute(request).await.unwrap()).await;
        assert_described(&asked, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// Writes, and again while the node is busy: on a machine with other work, linking does not keep up.
    pub(crate) async fn load(&self, path: &str, body: &Value) -> Value {
        let wait = Wait::new("the write is accepted").every(Duration::from_millis(100));
        let accepted = wait.value(async || {
            let answer = self.put(path, body).await;
            if answer.status == 503 {
                assert_eq!(answer.problem(), "busy", "{}", answer.body);
                return None;
            }
            Some(answer)
        });
        accepted.await.expect(200)
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Makes a collection.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, dimension: usize, metric: &str) -> impl Future<Output = Value> {
        let body = json!({"name": name, "dimension": dimension, "metric": metric});
        let client = self.clone();
        async move { client.post("/collections", &body).await.expect(201) }
    }

    /// The last record that changed data.
    pub(crate) async fn data_seq(&self) -> u64 {
        self.get("/log/head").await.expect(200)["data_seq"].as_u64().unwrap()
    }

    /// Where the log ends.
    pub(crate) async fn head(&self) -> Value {
        self.get("/log/head").await.expect(200)
    }

    /// The audit log, line by line.
    pub(crate) async fn log(&self, query: &str) -> Vec<Value> {
        let answer = self.request(Method::GET, &format!("/log{query}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
