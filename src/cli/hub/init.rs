//! `hub init`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use vectorizer_access::ApiKey;
use vectorizer_hivehub::ErrorAnswer;
use vectorizer_hub::demo::{Demo, HUB_FOLDER, KEYS_FILE};
use vectorizer_hub::{Hub, HubStoreError};

use super::{HubFailure, write_json};
use crate::cli::Streams;
use crate::cli::failure::Failure;
use crate::cli::interruption::run_blocking;
use crate::config::Secret;

#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 done, 1 the hub has keys already, 2 error")]
pub(in crate::cli) struct InitArgs {
    /// The data folder of the hub
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Also create two demo tenants on a generous plan, and write all keys to dev-keys.json in the folder
    #[arg(long)]
    demo: bool,
    /// Print the keys as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    InitArgs { data_dir, demo, json }: InitArgs,
    streams: &Streams,
) -> Result<(), Failure> {
    let folder = data_dir.clone();
    let (service, operator) = run_blocking(move || create_hub(&folder, demo)).await?;
    if json {
        let keys = json!({"hivehub_api_key": service.expose(), "operator": operator.expose()});
        write_json(streams, &keys)?;
    } else {
        let (service, operator) = (service.expose(), operator.expose());
        streams.write(format!("HIVEHUB_API_KEY={service}\nVECTORIZER_KEY={operator}\n").as_bytes())?;
    }
    streams.flush()?;
    streams.remark(
        "store both keys, they are not shown again: HIVEHUB_API_KEY is for the nodes, VECTORIZER_KEY is for the operator",
    );
    if demo {
        let file = data_dir.join(KEYS_FILE);
        streams.remark(format_args!("the demo tenants' keys are in {}", file.display()));
    }
    Ok(())
}

/// Creates the hub and its first keys.
fn create_hub(data_dir: &Path, demo: bool) -> Result<(Secret, ApiKey), HubFailure> {
    let refused = |error: HubStoreError| {
        if matches!(error, HubStoreError::Initialised) {
            HubFailure::Rejected(ErrorAnswer { error: "initialised".to_owned(), details: error.to_string() })
        } else if matches!(error, HubStoreError::InUse { .. }) {
            HubFailure::Running(data_dir.to_owned())
        } else {
            HubFailure::Store(error)
        }
    };
    let io = |source| HubFailure::Store(HubStoreError::Io { path: data_dir.to_owned(), source });
    std::fs::create_dir_all(data_dir).map_err(io)?;
    let hub = Hub::open(&data_dir.join(HUB_FOLDER)).map_err(refused)?;
    if hub.is_initialised() {
        return Err(refused(HubStoreError::Initialised));
    }
    if demo {
        // The demo opens the hub again.
        drop(hub);
        let keys = Demo::open(data_dir).map_err(refused)?.keys;
        let keys = keys.ok_or_else(|| refused(HubStoreError::Initialised))?;
        return Ok((keys.hivehub_api_key, keys.operator));
    }
    let keys = hub.init().map_err(refused)?;
    Ok((keys.service, keys.operator))
}
