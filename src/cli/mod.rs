//! The command line.
//!
//! Exit codes mean something: 0 it holds, 1 it does not hold, 2 it could not be asked.

mod dev;
mod hub;
mod serve;
mod stop;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// What ends a command early.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A vector database that many tenants share safely.
#[derive(Debug, Parser)]
#[command(name = "vectorizer", version, about, long_about = None, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    ///
    /// Without cluster mode: one tenant, no keys, on loopback. Every key of config.yml is also a flag.
    Serve(serve::Serve),
    /// Run the server in cluster mode with a HiveHub of its own and two demo tenants
    ///
    /// For trying things out. Prints the demo tenants' keys and writes them to dev-keys.json in the
    /// data folder; the next start uses the same ones.
    Dev(dev::Dev),
    /// Run a small HiveHub: tenants and keys, durable
    ///
    /// On an empty data folder it sets up the same two demo tenants as `dev`.
    Hub(hub::Hub),
}

/// Runs a command to its exit code.
pub async fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Serve(serve) => serve.run().await,
        Command::Dev(dev) => dev.run().await,
        Command::Hub(hub) => hub.run().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "vectorizer: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Sends log lines to stderr: for people on a terminal, as JSON elsewhere. `VECTORIZER_LOG` says which,
/// in the syntax of tracing's filters.
fn start_logging() {
    let filter = EnvFilter::try_from_env("VECTORIZER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The first to come wins; a second call changes nothing.
    let _ = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
}
