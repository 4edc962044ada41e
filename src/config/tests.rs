//! Tests of the configuration.

use std::time::Duration;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    flags: ConfigFlags,
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn flags(arguments: &[&str]) -> ConfigFlags {
    let program = std::iter::once("vectorizer");
    Command::try_parse_from(program.chain(arguments.iter().copied())).unwrap().flags
}

fn config(text: &str) -> Result<Config, ConfigError> {
    Config::from_yaml(text, &ConfigFlags::default(), &nothing)
}

fn refusal(text: &str) -> String {
    config(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_leaves_every_default() {
    for text in ["", "# nothing yet\n", "server:\n", "---\n"] {
        let config = config(text).unwrap();
        assert_eq!(config.server.listen, "127.0.0.1:15002".parse().unwrap());
        assert_eq!(config.server.data_dir, PathBuf::from("./data"));
        assert_eq!(config.server.body_bytes_max.get(), 33_554_432);
        assert_eq!(config.server.json_depth_max.get(), 32);
        assert_eq!(config.server.metrics_listen, None);
        assert_eq!(config.server.shutdown_grace.duration(), Duration::from_secs(30));
        assert_eq!(config.server.delete_grace.duration(), Duration::from_hours(7 * 24));
        assert!(config.server.allowed_hosts.is_empty() && config.server.trusted_proxies.is_empty());
        assert_eq!(config.cluster, None);
        assert!(config.auth.require_authentication);
        assert_eq!(config.auth.api_key_cache_ttl.duration(), Duration::from_mins(5));
        assert_eq!(config.rate_limiting.default_requests_per_minute.get(), 1000);
        assert_eq!(config.rate_limiting.default_requests_per_hour.get(), 10_000);
        assert_eq!(config.history, History { keep: None, on_full: OnFull::Drop });
    }
}

#[test]
fn the_documented_file_is_taken_as_it_stands() {
    let text = r#"
server: { listen: "127.0.0.1:15002", data_dir: "./data" }
cluster:
  enabled: true
  hivehub_api_url: "https://api.hivehub.io"
  hivehub_api_key: "${HIVEHUB_API_KEY}"
  quota_check_interval: 60  # seconds
  usage_report_interval: 300
auth: { require_authentication: true, api_key_cache_ttl: 300 }
rate_limiting: { default_requests_per_minute: 1000, default_requests_per_hour: 10000 }
"#;
    let environment = |name: &str| (name == "HIVEHUB_API_KEY").then(|| "k3y".to_owned());
    let cluster = Config::from_yaml(text, &ConfigFlags::default(), &environment).unwrap().cluster.unwrap();
    assert_eq!(cluster.hivehub_api_url.to_string(), "https://api.hivehub.io/");
    assert_eq!(cluster.hivehub_api_key.expose(), "k3y");
    assert_eq!(cluster.quota_check_interval.duration(), Duration::from_mins(1));
    assert_eq!(cluster.usage_report_interval.duration(), Duration::from_mins(5));
}

#[test]
fn every_key_is_a_flag_and_the_flag_wins_over_the_file() {
    let file = r#"
server: { listen: "127.0.0.1:1", data_dir: a, allowed_hosts: [a], cors_origins: ["http://a"], body_bytes_max: 2000, json_depth_max: 3,
          trusted_proxies: ["10.0.0.1"], metrics_listen: "127.0.0.1:2", tls: { cert: a, key: b }, shutdown_delay: 3,
          shutdown_grace: 4, delete_grace: 10, tenant_idle: 12, memory_budget: 20000000 }
cluster: { enabled: true, hivehub_api_url: "http://a", hivehub_api_key: a, quota_check_interval: 5,
           usage_report_interval: 6 }
auth: { require_authentication: true, api_key_cache_ttl: 7 }
rate_limiting: { default_requests_per_minute: 8, default_requests_per_hour: 9 }
history: { keep: 10, on_full: drop }
embedding: { url: "http://a/v1", model: a, key: a, dimension: 11 }
"#;
    let from_file = config(file).unwrap();
    for key in keys::ALL {
        let flag = match (key.section, key.name) {
            ("cluster", "enabled") => "--cluster-enabled".to_owned(),
            ("embedding", name) => format!("--embedding-{name}"),
            ("history", name) => format!("--history-{}", name.replace('_', "-")),
            (_, name) => format!("--{}", name.replace(['_', '.'], "-")),
        };
        let value = match key.name {
            "listen" | "metrics_listen" => "127.0.0.1:99",
            "hivehub_api_url" | "url" => "http://b",
            "cors_origins" => "https://b,http://localhost:3000",
            "trusted_proxies" => "10.0.0.2,10.1.0.0/16",
            "enabled" | "require_authentication" => "false",
            "body_bytes_max" => "9999",
            "memory_budget" => "99999999",
            "on_full" => "refuse",
            _ => "99",
        };
        match Config::from_yaml(file, &flags(&[&flag, value]), &nothing) {
            Ok(config) => assert_ne!(config, from_file, "{flag} changed nothing"),
            Err(ConfigError::ClusterWithoutAuthentication) => assert_eq!(key.name, "require_authentication"),
            Err(error) => panic!("{flag}: {error}"),
        }
    }
}

#[test]
fn embeddings_are_asked_for_where_there_is_a_url_and_then_all_of_it_is_needed() {
    let text =
        |url: &str| format!("embedding: {{ {url} model: m, key: \"${{EMBEDDING_KEY}}\", dimension: 384 }}");
    let environment = |name: &str| (name == "EMBEDDING_KEY").then(|| "s3cret".to_owned());
    let read = |text: &str| Config::from_yaml(text, &ConfigFlags::default(), &environment);
    let embedding = read(&text("url: \"http://127.0.0.1:11434/v1/\",")).unwrap().embedding.unwrap();
    assert_eq!(embedding.url.join("/embeddings").as_str(), "http://127.0.0.1:11434/v1/embeddings");
    assert_eq!((embedding.model.as_str(), embedding.dimension.get()), ("m", 384));
    assert!(!format!("{embedding:?}").contains("s3cret"));
    assert_eq!(embedding.key.unwrap().expose(), "s3cret");
    assert_eq!(config("").unwrap().embedding, None);
    assert_eq!(config("embedding: { key: \"${UNSET}\" }").unwrap().embedding, None);
    let unset = "embedding: { url: \"http://a\", model: m, dimension: 2, key: \"${UNSET}\" }";
    assert!(refusal(unset).contains("embedding.key needs the environment variable UNSET"));
    for (text, says) in [
        ("embedding: { model: m }", "embedding.url has no value, but embedding.model requires it"),
        ("embedding: { dimension: 2 }", "embedding.url has no value, but embedding.dimension requires it"),
        ("embedding: { url: \"http://a\", dimension: 2 }", "embedding.model has no value"),
        ("embedding: { url: \"http://a\", model: m }", "embedding.dimension has no value"),
        ("embedding: { url: \"http://a\", model: m, dimension: 0 }", "16384"),
        ("embedding: { url: \"http://u:p@a\", model: m, dimension: 2 }", "embedding.url"),
        ("embedding: { url: \"http://a\", model: m, dimension: 2, key: \"\" }", "embedding.key"),
        ("embedding: { ulr: \"http://a\" }", "embedding.url"),
    ] {
        assert!(refusal(text).contains(says), "{}", refusal(text));
    }
}

#[test]
fn a_truth_flag_needs_no_value() {
    assert_eq!(flags(&["--cluster-enabled"]).cluster_enabled, Some(true));
    assert_eq!(flags(&["--cluster-enabled", "false"]).cluster_enabled, Some(false));
    assert_eq!(flags(&[]).cluster_enabled, None);
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest_one() {
    for (text, name, nearest) in [
        ("server: { listn: x }", "listn", "server.listen"),
        ("cluster: { hivehub_url: x }", "hivehub_url", "cluster.hivehub_api_url"),
        ("server: { api_key_cache_ttl: 1 }", "api_key_cache_ttl", "auth.api_key_cache_ttl"),
        ("server: { tls: { crt: x } }", "tls.crt", "server.tls.cert"),
        ("sever: { listen: x }", "sever", "server"),
        ("listen: x", "listen", "server.listen"),
    ] {
        let message = refusal(text);
        assert!(message.contains(&format!("\"{name}\"")), "{message}");
        assert!(message.contains(&format!("\"{nearest}\"")), "{message}");
    }
    assert!(refusal("server: { listn: x }").contains("in section \"server\""));
}

#[test]
fn a_wrong_value_is_an_error_that_names_key_and_value() {
    for (text, key, value) in [
        ("server: { listen: here }", "server.listen", "\"here\""),
        ("server: { listen: 15002 }", "server.listen", "15002"),
        ("server: { listen: }", "server.listen", "empty"),
        ("server: { data_dir: 7 }", "server.data_dir", "7"),
        ("server: { data_dir: '' }", "server.data_dir", "\"\""),
        ("server: { allowed_hosts: a }", "server.allowed_hosts", "\"a\""),
        ("server: { allowed_hosts: ['http://a'] }", "server.allowed_hosts", "\"http://a\""),
        ("server: { cors_origins: ['a.example'] }", "server.cors_origins", "\"a.example\""),
        ("server: { cors_origins: ['https://a.example/'] }", "server.cors_origins", "\"https://a.example/\""),
        ("server: { cors_origins: ['https://a.example:443'] }", "server.cors_origins", "443"),
        ("server: { trusted_proxies: ['0.0.0.0/0'] }", "server.trusted_proxies", "\"0.0.0.0/0\""),
        ("server: { body_bytes_max: -1 }", "server.body_bytes_max", "-1"),
        ("server: { json_depth_max: 1.5 }", "server.json_depth_max", "1.5"),
        ("server: { shutdown_grace: [1] }", "server.shutdown_grace", "a list"),
        ("cluster: { enabled: maybe }", "cluster.enabled", "\"maybe\""),
        ("cluster: { hivehub_api_url: 'ftp://a' }", "cluster.hivehub_api_url", "\"ftp://a\""),
        ("cluster: { quota_check_interval: 0 }", "cluster.quota_check_interval", "\"0\""),
        ("auth: { api_key_cache_ttl: 700000 }", "auth.api_key_cache_ttl", "\"700000\""),
    ] {
        let message = refusal(text);
        assert!(message.starts_with(&format!("{key} is ")) && message.contains(value), "{text}: {message}");
    }
    assert!(refusal("server: 5").contains("section \"server\" is a number"));
    assert!(refusal("[1]").contains("is a list"));
    assert!(matches!(config("server: {"), Err(ConfigError::Syntax(_))));
    assert!(matches!(config("server: {}\nserver: {}"), Err(ConfigError::Syntax(_))));
}

#[test]
fn a_variable_cannot_inject_structure() {
    let environment = |name: &str| match name {
        "FOLDER" => Some("x\", listen: \"0.0.0.0:1\n# ${FOLDER}".to_owned()),
        "GRACE" => Some("12".to_owned()),
        _ => None,
    };
    let text = "server: { data_dir: 'a/${FOLDER}/$${b}', shutdown_grace: '${GRACE}' }";
    let server = Config::from_yaml(text, &ConfigFlags::default(), &environment).unwrap().server;
    assert_eq!(server.data_dir, PathBuf::from("a/x\", listen: \"0.0.0.0:1\n# ${FOLDER}/${b}"));
    assert_eq!(server.listen, "127.0.0.1:15002".parse().unwrap());
    assert_eq!(server.shutdown_grace.duration(), Duration::from_secs(12));
    for text in
        ["server: { data_dir: '${' }", "server: { data_dir: '${}' }", "server: { data_dir: '${a b}' }"]
    {
        assert!(matches!(config(text), Err(ConfigError::MalformedVariable { .. })), "{text}");
    }
}

#[test]
fn an_unset_variable_matters_only_where_its_section_is_in_use() {
    assert!(config("cluster: { enabled: false }").is_ok());
    let message = refusal("cluster: { enabled: true }");
    assert_eq!(
        message,
        "cluster.hivehub_api_key needs the environment variable HIVEHUB_API_KEY, which is not set"
    );
    assert!(refusal("server: { data_dir: '${NOWHERE}' }").contains("NOWHERE"));
    assert!(
        Config::from_yaml("cluster: { enabled: true }", &flags(&["--hivehub-api-key", "k"]), &nothing)
            .is_ok()
    );
}

#[test]
fn cluster_mode_without_authentication_is_refused() {
    let text = "cluster: { enabled: true, hivehub_api_key: k }\nauth: { require_authentication: false }";
    assert!(matches!(config(text), Err(ConfigError::ClusterWithoutAuthentication)));
    assert!(config("auth: { require_authentication: false }").is_ok());
}

#[test]
fn a_secret_is_never_shown() {
    let text = "cluster: { enabled: true, hivehub_api_key: tops3cret }";
    assert!(!format!("{:?}", config(text).unwrap()).contains("tops3cret"));
    for text in [
        "cluster: { enabled: true, hivehub_api_key: 'tops3cret with blanks' }",
        "cluster: { enabled: true, hivehub_api_key: [tops3cret] }",
        "cluster: { enabled: true, hivehub_api_key: { tops3cret: 1 } }",
        "cluster: { hivehub_api_url: 'http://me:tops3cret@host' }",
        "cluster: { hivehub_api_key: tops3cret\n  enabled: : : }",
    ] {
        let error = config(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("tops3cret"), "{error:?}");
    }
    let flags = flags(&["--hivehub-api-key", "tops3cret"]);
    assert!(!format!("{flags:?}").contains("tops3cret"));
}

#[test]
fn a_named_file_has_to_be_there_and_has_to_be_small() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.yml");
    let named = ConfigFlags { config: Some(path.clone()), ..ConfigFlags::default() };
    assert!(matches!(Config::load(&named, &nothing), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&path, "auth: { api_key_cache_ttl: 17 }").unwrap();
    let config = Config::load(&named, &nothing).unwrap();
    assert_eq!(config.auth.api_key_cache_ttl.duration(), Duration::from_secs(17));
    std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(Config::load(&named, &nothing), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn a_network_contains_its_addresses_and_no_others() {
    let network: Network = values::from_flag("10.1.0.0/16").unwrap();
    for (address, inside) in
        [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("10.2.0.1", false), ("::1", false)]
    {
        assert_eq!(network.contains(address.parse().unwrap()), inside, "{address}");
    }
    let one: Network = values::from_flag("2001:db8::1").unwrap();
    assert!(one.contains("2001:db8::1".parse().unwrap()) && !one.contains("2001:db8::2".parse().unwrap()));
}

#[test]
fn a_certificate_and_its_key_are_given_together_or_not_at_all() {
    for text in ["server: { tls: }", "server: { tls: {} }", "server: { tls: { cert: null } }"] {
        assert_eq!(config(text).unwrap().server.tls, None, "{text}");
    }
    let tls = config("server: { tls: { cert: /a/c.pem, key: /a/k.pem } }").unwrap().server.tls.unwrap();
    assert_eq!((tls.cert.path(), tls.key.path()), (Path::new("/a/c.pem"), Path::new("/a/k.pem")));
    assert_eq!(
        refusal("server: { tls: { cert: c } }"),
        "server.tls.cert is set, but server.tls.key is not: TLS needs both"
    );
    assert!(refusal("server: { tls: { key: k } }").starts_with("server.tls.key is set"));
    assert!(refusal("server: { tls: { cert: 7, key: k } }").contains("server.tls.cert is 7"));
    assert!(refusal("server: { tls: true }").contains("\"server.tls."));
}
