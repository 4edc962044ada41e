//! Server programs as child processes.

use std::fmt;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use crate::waiting::Wait;

/// A child process that serves. It is killed when this is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    url: String,
    /// Reads standard output until it ends, so that the pipe never fills up.
    stdout: Option<JoinHandle<Vec<String>>>,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The program cannot be run.
    NotRun(io::Error),
    /// It ended before it printed its address. Holds what it printed.
    Ended(Vec<String>),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(error) => write!(f, "the program cannot be run: {error}"),
            Self::Ended(lines) => write!(f, "the program ended before it listened: {}", lines.join("\n")),
        }
    }
}

impl std::error::Error for StartError {}

impl ServerProcess {
    /// Starts the program, and waits for a line in which `url` finds its address.
    pub fn start(command: &mut Command, url: impl Fn(&str) -> Option<String>) -> Result<Self, StartError> {
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(StartError::NotRun)?;
        let stdout = child.stdout.take().ok_or_else(|| StartError::Ended(Vec::new()))?;
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut printed = Vec::new();
        let url = loop {
            let Some(line) = lines.next() else {
                let _ = child.kill();
                let _ = child.wait();
                return Err(StartError::Ended(printed));
            };
            let url = url(&line);
            printed.push(line);
            if let Some(url) = url {
                break url;
            }
        };
        let stdout = std::thread::spawn(move || {
            printed.extend(lines);
            printed
        });
        Ok(Self { child, url, stdout: Some(stdout) })
    }

    /// Its address, as it has printed it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "SIG{name} cannot be sent");
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        Wait::new("the server ends").value_blocking(|| self.child.try_wait().unwrap())
    }

    /// Kills the process (SIGKILL) and waits until it has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills the process; the lines that it has printed.
    pub fn kill_and_read(&mut self) -> Vec<String> {
        self.kill();
        self.stdout.take().and_then(|stdout| stdout.join().ok()).unwrap_or_default()
    }

    /// A memory size from the process's status file, in KiB: `VmRSS` is the size now, `VmHWM` the largest so far.
    pub fn memory_kibibytes(&self, field: &str) -> Option<u64> {
        memory_kibibytes(self.id(), field)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A memory size from a process's status file, in KiB.
pub fn memory_kibibytes(process: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
