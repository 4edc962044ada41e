//! A server process, and a plain connection to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use vectorizer_testing::ServerProcess;

use super::support::Outcome;

/// A server of our own; it ends with this.
pub(crate) struct Server {
    process: ServerProcess,
    pub(crate) address: String,
}

impl Server {
    /// `vectorizer` with these arguments, a port of its own and this data folder.
    pub(crate) fn start(arguments: &[&str], data: &Path) -> Outcome<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vectorizer"));
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
        let process = ServerProcess::start(command.stderr(Stdio::null()), address)?;
        let address = process.url().to_owned();
        Ok(Self { process, address })
    }

    /// A connection that shows this key, if it is one.
    pub(crate) fn client(&self, key: &str) -> Outcome<Client> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let authorization =
            if key.is_empty() { String::new() } else { format!("Authorization: Bearer {key}\r\n") };
        Ok(Client { stream: BufReader::new(stream), authorization, body: Vec::new() })
    }
}

impl Deref for Server {
    type Target = ServerProcess;

    fn deref(&self) -> &ServerProcess {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut ServerProcess {
        &mut self.process
    }
}

/// The address and port in a line that a server prints when it listens.
fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.' && it != ':');
    Some(rest[..end.unwrap_or(rest.len())].to_owned())
}

/// One connection that is kept.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    authorization: String,
    /// Of the last answer.
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// The answer's JSON; an error if it is none of success.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &str) -> Outcome<Value> {
        let status = self.send(method, path, body)?;
        let answer = serde_json::from_slice(&self.body)?;
        if status < 300 { Ok(answer) } else { Err(format!("{method} {path}: {answer}").into()) }
    }

    /// Sends a request and reads its answer; the status.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &str) -> Outcome<u16> {
        self.send_at(method, &format!("/api/v1{path}"), "", body)
    }

    /// The same, to a whole path and with these header lines, each with its end.
    pub(crate) fn send_at(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Outcome<u16> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{}{headers}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).ok_or("no status")?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(status)
    }
}
