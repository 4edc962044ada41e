//! What `deploy/` says and what the program does are the same.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::node::{Node, http, vectorizer};

const CONFIG: &str = include_str!("../deploy/config.yml");
const DOCKERFILE: &str = include_str!("../deploy/Dockerfile");
const DOCKERIGNORE: &str = include_str!("../.dockerignore");
const KUBERNETES: &str = include_str!("../deploy/kubernetes/vectorizer.yml");
const SERVICE_MONITOR: &str = include_str!("../deploy/kubernetes/service-monitor.yml");
const UNIT: &str = include_str!("../deploy/systemd/vectorizer.service");
const USERS: &str = include_str!("../deploy/systemd/vectorizer.sysusers.conf");

/// How long writers may take to end when the server stops, beside its grace.
const WRITERS: u64 = 60;
/// How many connections a server has at most.
const CONNECTIONS: u64 = 4_096;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The object of this kind.
fn manifest(kind: &str) -> Value {
    let mut documents = KUBERNETES.split("\n---\n").map(yaml).filter(|it| it["kind"] == kind);
    let found = documents.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert_eq!(documents.next(), None, "{kind}");
    found
}

fn kubernetes_config() -> String {
    manifest("ConfigMap")["data"]["config.yml"].as_str().unwrap().to_owned()
}

fn container() -> Value {
    let set = manifest("StatefulSet");
    let containers = set["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
    assert_eq!(containers.len(), 1);
    containers[0].clone()
}

/// The port at the end of `server.<key>`.
fn port(config: &str, key: &str) -> u64 {
    let config = yaml(config);
    let address = config["server"][key].as_str().unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// What a stop may take by this configuration.
fn stop_seconds(config: &str) -> u64 {
    let config = yaml(config);
    let seconds = |key: &str| config["server"][key].as_u64().unwrap();
    seconds("shutdown_delay") + seconds("shutdown_grace") + WRITERS
}

/// The words behind a Dockerfile's instruction, each time that it is there.
fn instructions(name: &str) -> impl Iterator<Item = Vec<&str>> {
    DOCKERFILE.lines().filter_map(move |line| {
        let (first, rest) = line.split_once(' ')?;
        (first == name).then(|| rest.split_whitespace().collect())
    })
}

/// A list such as `["a", "b"]`.
fn exec(name: &str) -> Vec<String> {
    let words = instructions(name).next().unwrap().join(" ");
    serde_json::from_str(&words).unwrap()
}

/// The values of a key of the unit.
fn unit(key: &str) -> impl Iterator<Item = &str> {
    UNIT.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}

#[track_caller]
fn unit_value(key: &'static str) -> &'static str {
    unit(key).next().unwrap_or_else(|| panic!("the unit has no {key}"))
}

/// Runs the server as this command says, with this configuration at the place that it names, on ports of its
/// own; and its other listener.
fn started(command: &[String], config: &str, folder: &Path) -> (Node, String) {
    let [serve, flag, path] = command else { panic!("{command:?}") };
    assert_eq!([serve.as_str(), flag.as_str()], ["serve", "--config"]);
    let file = folder.join(Path::new(path).file_name().unwrap());
    std::fs::write(&file, config).unwrap();
    // As on a volume that has just been made.
    std::fs::create_dir_all(folder.join("data/lost+found")).unwrap();
    // Free a moment ago.
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let flags = [
        "--config",
        file.to_str().unwrap(),
        "--metrics-listen",
        &metrics,
        "--hivehub-api-url",
        "http://127.0.0.1:9",
        "--hivehub-api-key",
        "none",
        "--shutdown-delay",
        "1",
    ];
    (Node::start(serve, &folder.join("data"), &flags), metrics)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_that_is_deployed_starts_as_written_and_answers_its_probes() {
    let arguments: Vec<String> = serde_json::from_value(container()["args"].clone()).unwrap();
    let exec_start: Vec<String> = unit_value("ExecStart").split(' ').skip(1).map(str::to_owned).collect();
    let map = kubernetes_config();
    for (command, config) in [(arguments, map.as_str()), (exec("CMD"), CONFIG), (exec_start, CONFIG)] {
        let folder = TempDir::new().unwrap();
        let (node, metrics) = started(&command, config, folder.path());
        for probe in ["readinessProbe", "livenessProbe"] {
            let path = container()[probe]["httpGet"]["path"].as_str().unwrap().to_owned();
            let answer = node.keyless().request_at(Method::GET, &path).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{probe}");
        }
        // In cluster mode, and so closed to whoever has no key.
        assert_eq!(node.keyless().get("/collections").await.problem(), "no-key");
        let monitor = yaml(SERVICE_MONITOR);
        let path = monitor["spec"]["endpoints"][0]["path"].as_str().unwrap();
        let answer = http().get(format!("http://{metrics}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().contains("vectorizer_awake_tenants"));
        tokio::task::spawn_blocking(|| node.stop()).await.unwrap();
    }
}

#[test]
fn every_server_that_is_deployed_wants_hivehubs_key_from_its_environment() {
    let folder = TempDir::new().unwrap();
    for config in [CONFIG, &kubernetes_config()] {
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let output = vectorizer(["serve", "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("cluster.hivehub_api_key") && said.contains("HIVEHUB_API_KEY"), "{said}");
    }
    let variable = &container()["env"][0];
    assert_eq!(variable["name"], "HIVEHUB_API_KEY");
    assert!(variable["value"].is_null() && variable["valueFrom"]["secretKeyRef"]["name"].is_string());
    assert!(unit_value("EnvironmentFile").starts_with("/etc/vectorizer/"));
    // In no file that is deployed.
    for text in [UNIT, DOCKERFILE, KUBERNETES, CONFIG] {
        assert!(!text.contains("HIVEHUB_API_KEY=") || text == UNIT && text.contains("# HIVEHUB_API_KEY=..."));
    }
}

#[test]
fn the_image_holds_what_it_is_made_of_and_runs_as_nobody() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let let_in: Vec<&str> = DOCKERIGNORE.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut copied = Vec::new();
    let mut from_build = BTreeMap::new();
    for words in instructions("COPY") {
        let paths: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with("--")).collect();
        let (target, sources) = paths.split_last().unwrap();
        if words[0] == "--from=build" {
            from_build.insert(*target, sources[0]);
            continue;
        }
        for source in sources {
            assert!(root.join(source).exists(), "{source}");
            assert!(let_in.contains(source), "{source} is left out by .dockerignore");
            copied.push(*source);
        }
    }
    assert_eq!(copied.len(), let_in.len(), "{let_in:?} is let in, {copied:?} copied");
    // Whatever Cargo.toml names is there to be built.
    for folder in ["crates", "log", "replay", "src", "benches", "tests", "Cargo.lock", ".cargo"] {
        assert!(copied.contains(&folder), "{folder}");
    }
    let entry = exec("ENTRYPOINT");
    let built = from_build[entry[0].as_str()];
    let name = Path::new(env!("CARGO_BIN_EXE_vectorizer")).file_name().unwrap();
    assert_eq!(Path::new(built).file_name().unwrap(), name);
    let user = instructions("USER").last().unwrap()[0].split_once(':').unwrap();
    assert!(user.0.parse::<u32>().unwrap() >= 1_000);
    let config = yaml(CONFIG);
    let data = config["server"]["data_dir"].as_str().unwrap();
    assert_eq!(instructions("VOLUME").next().unwrap(), [data]);
    assert!(from_build.contains_key(data), "the folder has to be there, and the user's");
    assert!(DOCKERFILE.contains(&format!("--chown={}:{} ", user.0, user.1)));
    assert!(DOCKERFILE.contains(&format!("COPY deploy/config.yml {}", exec("CMD")[2])));
    let exposed: Vec<u64> =
        instructions("EXPOSE").next().unwrap().iter().map(|it| it.parse().unwrap()).collect();
    assert_eq!(exposed, [port(CONFIG, "listen"), port(CONFIG, "metrics_listen")]);
    assert_eq!(instructions("STOPSIGNAL").next().unwrap(), ["SIGTERM"]);
    let image = instructions("FROM").next().unwrap()[0].strip_prefix("rust:").unwrap();
    assert!(image.starts_with(env!("CARGO_PKG_RUST_VERSION")), "{image}");
}

#[test]
fn kubernetes_runs_one_server_for_each_volume_as_nobody_and_waits_for_its_stop() {
    let set = manifest("StatefulSet");
    let (container, config) = (container(), kubernetes_config());
    assert_eq!(set["spec"]["replicas"], 1);
    let pod = &set["spec"]["template"]["spec"];
    let user = instructions("USER").last().unwrap()[0].split_once(':').unwrap().0;
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(pod["securityContext"][key].to_string(), user, "{key}");
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let rights = &container["securityContext"];
    assert_eq!((&rights["allowPrivilegeEscalation"], &rights["readOnlyRootFilesystem"]), {
        (&Value::Bool(false), &Value::Bool(true))
    });
    assert_eq!(rights["capabilities"]["drop"][0], "ALL");
    assert!(
        container["resources"]["limits"]["memory"].is_string(),
        "it is what tenants' memory is a part of"
    );

    let mounts: BTreeMap<&str, &str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| (mount["name"].as_str().unwrap(), mount["mountPath"].as_str().unwrap()))
        .collect();
    assert_eq!(mounts["data"], yaml(&config)["server"]["data_dir"]);
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data");
    assert_eq!(container["args"][2], format!("{}/config.yml", mounts["config"]));
    assert_eq!(pod["volumes"][0]["name"], "config");
    assert_eq!(pod["volumes"][0]["configMap"]["name"], manifest("ConfigMap")["metadata"]["name"]);

    let ports: BTreeMap<&str, u64> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap()))
        .collect();
    assert_eq!(ports["http"], port(&config, "listen"));
    assert_eq!(ports["metrics"], port(&config, "metrics_listen"));
    for port in manifest("Service")["spec"]["ports"].as_array().unwrap() {
        assert_eq!(ports[port["targetPort"].as_str().unwrap()], port["port"].as_u64().unwrap());
    }
    for rule in manifest("NetworkPolicy")["spec"]["ingress"].as_array().unwrap() {
        assert!(rule["from"].is_array(), "everybody may come in");
        assert!(ports.contains_key(rule["ports"][0]["port"].as_str().unwrap()), "{rule}");
    }
    for probe in ["readinessProbe", "livenessProbe"] {
        assert!(ports.contains_key(container[probe]["httpGet"]["port"].as_str().unwrap()), "{probe}");
    }
    let monitor = yaml(SERVICE_MONITOR);
    assert!(ports.contains_key(monitor["spec"]["endpoints"][0]["port"].as_str().unwrap()));

    // Nobody is sent to it any more when it stops listening.
    let probe = &container["readinessProbe"];
    let noticed = probe["periodSeconds"].as_u64().unwrap() * probe["failureThreshold"].as_u64().unwrap();
    assert!(yaml(&config)["server"]["shutdown_delay"].as_u64().unwrap() > noticed);
    let patience = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(patience >= stop_seconds(&config), "{patience}");

    // All speak of the same pods.
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("Service")["spec"]["selector"], labels);
    assert_eq!(&manifest("Service")["metadata"]["labels"], labels);
    assert_eq!(&manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(&monitor["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(pod["serviceAccountName"], manifest("ServiceAccount")["metadata"]["name"]);
    assert_eq!(set["spec"]["serviceName"], manifest("Service")["metadata"]["name"]);
}

#[test]
fn the_unit_agrees_with_the_program_and_systemd_finds_nothing_wrong_with_it() {
    let config = yaml(CONFIG);
    let data = config["server"]["data_dir"].as_str().unwrap();
    assert_eq!(format!("/var/lib/{}", unit_value("StateDirectory")), data);
    assert_eq!(unit_value("WorkingDirectory"), data);
    let user = unit_value("User");
    assert!(USERS.lines().any(|line| line.starts_with(&format!("u {user} ")) && line.ends_with(data)));
    let mut command = unit_value("ExecStart").split(' ');
    assert_eq!(command.next().unwrap(), exec("ENTRYPOINT")[0]);
    assert_eq!(command.collect::<Vec<_>>(), exec("CMD"));
    assert!(unit_value("TimeoutStopSec").parse::<u64>().unwrap() >= stop_seconds(CONFIG));
    assert!(unit_value("LimitNOFILE").parse::<u64>().unwrap() > 2 * CONNECTIONS);
    // The memory of the machine is read there.
    assert_eq!(unit("ProcSubset").next(), None);

    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIPPED: systemd-analyze is not installed");
        return;
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("vectorizer.service");
    // Where the program is not installed, that would be what is wrong with it.
    let here = UNIT.replace(&exec("ENTRYPOINT")[0], env!("CARGO_BIN_EXE_vectorizer"));
    std::fs::write(&file, here).unwrap();
    let verify = Command::new("systemd-analyze").arg("verify").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    // It looks at the units that this one wants too, which may have faults of their own.
    assert!(!said.lines().any(|line| line.contains("vectorizer.service")), "{said}");
    // Of 10, as it counts: 2 and below is well protected.
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(security.status.success(), "{}", String::from_utf8_lossy(&security.stdout));
    assert!(Duration::from_secs(unit_value("RestartSec").parse().unwrap()) >= Duration::from_secs(1));
}
