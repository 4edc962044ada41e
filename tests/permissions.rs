//! Deny by default: every route against every kind of caller, by the design's table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vectorizer_access::{ApiKey, Environment, Operation};
use vectorizer_rest::location;

use crate::support::node::{ACME, Answer, Client, Key, Node};

/// The least level that may, as the design's tables say it: written by hand, not taken from the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    Nothing,
    /// Any tenant's key that REST knows, or the operator's.
    AnyKey,
    /// Any tenant's key whatever its permission: what it may do is each tool's affair.
    Tools,
    ReadOnly,
    ReadWrite,
    Admin,
    /// The operator's key, and no tenant's.
    Cluster,
}

fn needs(operation: Operation) -> Needs {
    match operation {
        Operation::Health | Operation::Ready | Operation::OpenApi => Needs::Nothing,
        Operation::ListCollections
        | Operation::DescribeCollection
        | Operation::ListIndexes
        | Operation::ListVectors
        | Operation::GetVector
        | Operation::Search
        | Operation::SearchBatch
        | Operation::Count
        | Operation::ReadLogHead => Needs::ReadOnly,
        Operation::UpsertVectors
        | Operation::DeleteVector
        | Operation::ChangePayload
        | Operation::DeleteVectors => Needs::ReadWrite,
        Operation::CreateCollection
        | Operation::DeleteCollection
        | Operation::DeclareIndex
        | Operation::DropIndex
        | Operation::ReadLog => Needs::Admin,
        Operation::Usage | Operation::ValidateKey => Needs::AnyKey,
        Operation::Mcp => Needs::Tools,
        Operation::Metrics
        | Operation::ClusterHealth
        | Operation::ListTenants
        | Operation::DeleteTenant
        | Operation::RestoreTenant => Needs::Cluster,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    /// 401 with this code and challenge.
    Unknown(&'static str, &'static str),
    /// 403.
    Forbidden,
}

const NO_KEY: Verdict = Verdict::Unknown("no-key", "Bearer realm=\"vectorizer\"");
const INVALID_TOKEN: &str = "Bearer realm=\"vectorizer\", error=\"invalid_token\"";
const MALFORMED: Verdict = Verdict::Unknown("malformed-key", INVALID_TOKEN);
const UNKNOWN: Verdict = Verdict::Unknown("invalid-key", INVALID_TOKEN);
const INSUFFICIENT: &str = "Bearer realm=\"vectorizer\", error=\"insufficient_scope\"";

/// A way to call, and the most it reaches: `Ok` with the highest level, or the refusal.
struct Caller {
    name: String,
    headers: Vec<(String, String)>,
    query: String,
    reaches: Result<Needs, Verdict>,
}

impl Caller {
    fn new(name: &str, reaches: Result<Needs, Verdict>) -> Self {
        Self { name: name.to_owned(), headers: Vec::new(), query: String::new(), reaches }
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn bearer(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    fn verdict(&self, operation: Operation) -> Verdict {
        match (needs(operation), self.reaches) {
            (Needs::Nothing, _) => Verdict::Allowed,
            (_, Err(verdict)) => verdict,
            (Needs::Tools, Ok(reaches)) if reaches != Needs::Cluster => Verdict::Allowed,
            (Needs::AnyKey, Ok(reaches)) if reaches >= Needs::AnyKey => Verdict::Allowed,
            // Neither reaches what is the other's.
            (needs, Ok(reaches)) if (needs == Needs::Cluster) != (reaches == Needs::Cluster) => {
                Verdict::Forbidden
            }
            (needs, Ok(reaches)) if reaches >= needs => Verdict::Allowed,
            (_, Ok(_)) => Verdict::Forbidden,
        }
    }

    async fn call(&self, client: &Client, operation: Operation) -> Answer {
        let (method, template) = location(operation);
        let path = template.replace("{name}", "words").replace("{id}", "a").replace("{path}", "n");
        assert!(!path.contains('{'), "{path} has a placeholder this test does not fill");
        let mut request = client.request_at(method.clone(), &format!("{path}{}", self.query));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if ![Method::GET, Method::DELETE].contains(&method) {
            request = request.json(&json!({}));
        }
        client.send(request).await
    }

    async fn is_held(&self, node: &Node, client: &Client, operation: Operation) {
        let answer = if self.reaches == Err(UNKNOWN) {
            // Of one address only so many are borne.
            let number = u8::try_from(operation as usize).unwrap();
            self.call(&node.keyless_from([127, 0, 1, number].into()), operation).await
        } else {
            self.call(client, operation).await
        };
        let what = format!("{operation:?} by {}: {} {}", self.name, answer.status, answer.body);
        let status = answer.status.as_u16();
        match self.verdict(operation) {
            Verdict::Allowed => {
                assert!(![401, 403].contains(&status) && status < 500, "{what}");
                assert!(!answer.headers.contains_key("www-authenticate"), "{what}");
            }
            Verdict::Unknown(code, challenge) => {
                assert_eq!((status, answer.problem()), (401, code), "{what}");
                assert_eq!(answer.headers["www-authenticate"], challenge, "{what}");
            }
            Verdict::Forbidden => {
                assert_eq!((status, answer.problem()), (403, "insufficient-permission"), "{what}");
                assert_eq!(answer.headers["www-authenticate"], INSUFFICIENT, "{what}");
            }
        }
    }
}

/// The key with another last character: its check no longer fits.
fn with_wrong_check(key: &str) -> String {
    let (rest, last) = key.split_at(key.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

fn callers(node: &Node) -> Vec<Caller> {
    let admin = node.key(ACME);
    let unknown = ApiKey::generate(Environment::Live, &[7; ApiKey::ENTROPY_BYTES]);
    let mut callers = vec![
        Caller::new("no key", Err(NO_KEY)),
        Caller::new("an empty header", Err(NO_KEY)).header("authorization", ""),
        Caller::new("a scheme alone", Err(NO_KEY)).header("authorization", "Bearer"),
        Caller::new("a key without scheme", Err(NO_KEY)).header("authorization", admin.clone()),
        Caller::new("Basic", Err(NO_KEY))
            .header("authorization", format!("Basic {}", BASE64.encode(format!("acme:{admin}")))),
        Caller::new("a key as Basic", Err(NO_KEY)).header("authorization", format!("Basic {admin}")),
        Caller::new("two keys", Err(NO_KEY)).bearer(&admin).bearer(&admin),
        Caller::new("a key in the second header", Err(NO_KEY)).header("authorization", "").bearer(&admin),
        Caller::new("a key behind garbage", Err(NO_KEY)).bearer("garbage").bearer(&admin),
        Caller::new("x-api-key", Err(NO_KEY)).header("x-api-key", admin.clone()),
        Caller::new("api-key", Err(NO_KEY)).header("api-key", admin.clone()),
        Caller::new("a cookie", Err(NO_KEY)).header("cookie", format!("key={admin}; access_token={admin}")),
        Caller::new("Proxy-Authorization", Err(NO_KEY))
            .header("proxy-authorization", format!("Bearer {admin}")),
        Caller::new("garbage", Err(MALFORMED)).bearer("garbage"),
        Caller::new("a key cut short", Err(MALFORMED)).bearer(&admin[..admin.len() - 1]),
        Caller::new("a key and more", Err(MALFORMED)).bearer(&format!("{admin}0")),
        Caller::new("two keys in one header", Err(MALFORMED)).bearer(&format!("{admin}, {admin}")),
        Caller::new("another prefix", Err(MALFORMED)).bearer(&admin.replacen("hh_", "hx_", 1)),
        Caller::new("a mistyped key", Err(MALFORMED)).bearer(&with_wrong_check(&admin)),
        Caller::new("the wildcard", Err(MALFORMED)).bearer("*"),
        Caller::new("a long text", Err(MALFORMED)).bearer(&"a".repeat(4_000)),
        Caller::new("an unknown key", Err(UNKNOWN)).bearer(unknown.expose()),
        Caller::new("ADMIN", Ok(Needs::Admin)).bearer(&admin),
        Caller::new("ADMIN in capitals", Ok(Needs::Admin)).header("authorization", format!("BEARER {admin}")),
        Caller::new("READ_WRITE", Ok(Needs::ReadWrite)).bearer(&node.key(Key::ReadWrite(0))),
        Caller::new("READ_ONLY", Ok(Needs::ReadOnly)).bearer(&node.key(Key::ReadOnly(0))),
        Caller::new("MCP", Ok(Needs::Nothing)).bearer(&node.key(Key::Mcp(0))),
        Caller::new("the operator", Ok(Needs::Cluster)).bearer(&node.key(Key::Operator)),
    ];
    for name in ["key", "api_key", "access_token", "token", "authorization"] {
        let query = format!("?{name}={admin}");
        callers.push(Caller { query, ..Caller::new(&format!("?{name}="), Err(NO_KEY)) });
    }
    // What a proxy or a neighbour might say of a caller gives it nothing.
    for (name, value) in [
        ("x-hivehub-service-key", "hh_service_0"),
        ("x-hivehub-user-id", "00000000-0000-0000-0000-000000000000"),
        ("x-hivehub-tenant-id", "acme"),
        ("x-hivehub-permission", "ADMIN"),
        ("x-hivehub-internal", "true"),
        ("x-service-key", "hh_service_0"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-user", "admin"),
        ("x-forwarded-host", "localhost"),
        ("forwarded", "for=127.0.0.1;host=localhost"),
        ("x-real-ip", "127.0.0.1"),
        ("x-internal-request", "true"),
        ("x-internal-service", "hivehub"),
        ("x-tenant-id", "acme"),
        ("x-http-method-override", "GET"),
        ("x-original-url", "/health"),
        ("x-rewrite-url", "/health"),
    ] {
        callers.push(Caller::new(&format!("no key with {name}"), Err(NO_KEY)).header(name, value));
        let reader = Caller::new(&format!("READ_ONLY with {name}"), Ok(Needs::ReadOnly));
        callers.push(reader.bearer(&node.key(Key::ReadOnly(0))).header(name, value));
        let agent = Caller::new(&format!("MCP with {name}"), Ok(Needs::Nothing));
        callers.push(agent.bearer(&node.key(Key::Mcp(0))).header(name, value));
    }
    callers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_every_caller_as_the_design_says_and_a_refused_one_wakes_no_tenant() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let (callers, client) = (callers(&node), node.keyless());
    // Those who are refused first: afterwards nothing of any tenant may be there.
    let (mut refused, mut allowed) = (0, 0);
    for operation in Operation::ALL {
        for caller in callers.iter().filter(|caller| caller.verdict(operation) != Verdict::Allowed) {
            caller.is_held(&node, &client, operation).await;
            refused += 1;
        }
    }
    let mut entries: Vec<String> = std::fs::read_dir(data.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('_'))
        .collect();
    entries.sort();
    assert_eq!(entries, ["dev-keys.json"], "a refused request has left something");
    for operation in Operation::ALL {
        for caller in callers.iter().filter(|caller| caller.verdict(operation) == Verdict::Allowed) {
            caller.is_held(&node, &client, operation).await;
            allowed += 1;
        }
    }
    assert!(refused > 500 && allowed > 300, "{refused} refused, {allowed} allowed");
    // And the one tenant that was let in is the one there is.
    assert!(data.path().join("acme").is_dir());
    assert!(!data.path().join("globex").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_names_a_tenant_does_not_lead_there() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    node.client(ACME).create("words", 3, "dot").await;
    let globex = node.client(Key::Admin(1));
    for name in ["x-tenant-id", "x-hivehub-tenant-id", "x-hivehub-user-id", "x-internal-tenant", "tenant"] {
        let request = globex.request(Method::GET, "/collections").header(name, "acme");
        assert_eq!(globex.send(request).await.expect(200), json!({"collections": []}), "{name}");
    }
    // Nor does a body, a parameter or a path.
    for path in ["/acme/collections", "/tenants/acme/collections", "/collections/acme%2Fwords"] {
        let answer = globex.get(path).await;
        assert!([404, 422].contains(&answer.status.as_u16()), "{path}: {}", answer.body);
    }
    let sneaky = json!({"name": "x", "dimension": 3, "metric": "dot", "tenant_id": "acme"});
    globex.post("/collections", &sneaky).await.expect(422);
    assert_eq!(globex.log("").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_appear_in_no_answer_and_no_file_but_the_one_for_them() {
    let data = TempDir::new().unwrap();
    let node = Node::dev(data.path());
    let key = node.key(ACME);
    let client = node.client(ACME);
    client.create("words", 3, "dot").await;
    let secret = key.split('_').nth(3).unwrap();
    assert_eq!(secret.len(), 43);
    for answer in
        [client.get("/collections/nowhere").await.body, json!(client.log("?with_stored=true").await)]
    {
        assert!(!answer.to_string().contains(secret), "{answer}");
    }
    node.stop();
    let mut folders = vec![data.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "dev-keys.json" {
                let bytes = std::fs::read(&path).unwrap();
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} holds a key", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 3, "{files} files");
}
