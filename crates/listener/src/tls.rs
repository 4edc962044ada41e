//! TLS: the certificate, its reloading, and handshakes.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::peer::Peer;
use super::peers::Peers;
use super::slow_client::SlowClientTimeout;

/// The longest handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How many handshakes run at the same time, in all and per client.
const HANDSHAKES_MAX: usize = 1_024;
const HANDSHAKES_EACH_MAX: usize = 128;
/// How often the files are checked for changes. SIGHUP checks at once.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// More than any certificate chain or key has.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How long, and for how many bytes, a connection without TLS is read until its client has the answer.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: u64 = 64 * 1024;
/// The first byte of a TLS record that begins a handshake.
const HANDSHAKE: u8 = 0x16;

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key} cannot be read from {path:?}")]
    Unreadable {
        /// The configuration's key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{key} {path:?} is not PEM: {reason}")]
    NotPem {
        /// The configuration's key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file has no certificate or no key.
    #[error("{key} {path:?} holds no {wanted}")]
    Nothing {
        /// The configuration's key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What it should have.
        wanted: &'static str,
    },
    /// The two do not match, or are not supported.
    #[error("server.tls.cert {cert:?} and server.tls.key {key:?} cannot be used together: {source}")]
    Unusable {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain, as PEM.
    pub cert: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
}

/// The certificate. Cheap to clone; a reload changes all clones.
#[derive(Clone, Debug)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<RwLock<Current>>,
    handshakes: Arc<Semaphore>,
    peers: Peers,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// The versions of its files.
    version: Option<[FileVersion; 2]>,
}

/// Inode, size and modification time: a replaced file differs, also behind a link.
type FileVersion = (u64, u64, i64, i64);

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let current = Arc::new(RwLock::new(Current::read(files)?));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Ok(Self { files: files.clone(), current, handshakes, peers: Peers::with_each(HANDSHAKES_EACH_MAX) })
    }

    /// Reloads the files until `stop` when they change, and when SIGHUP arrives. If they cannot be used, the
    /// certificate in use stays.
    pub async fn follow(self, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                error!(%error, "SIGHUP cannot be received: certificates are reloaded when their files change");
                while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
                    self.look(false).await;
                }
                return;
            }
        };
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            self.look(asked).await;
        }
    }

    async fn look(&self, asked: bool) {
        let tls = self.clone();
        let looking = move || {
            let before = tls.current.read().unwrap_or_else(PoisonError::into_inner).version;
            if !asked && versions(&tls.files) == before {
                return;
            }
            match Current::read(&tls.files) {
                Ok(current) => {
                    *tls.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                    info!("the certificate was reloaded");
                }
                Err(error) => {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    error!(error, "the new certificate cannot be used; the old one stays in use");
                }
            }
        };
        if tokio::task::spawn_blocking(looking).await.is_err() {
            error!("reading the certificate panicked");
        }
    }

    /// Does the handshake; `None` if it fails or takes too long.
    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
        peer: Peer,
    ) -> Option<TlsStream<SlowClientTimeout<TcpStream>>> {
        let Some(_of_peer) = self.peers.admit(peer.0.ip().into()) else {
            debug!(peer = %peer.0, "an address has as many handshakes as it may");
            return None;
        };
        let shaking = async {
            let _place = self.handshakes.acquire().await.ok()?;
            let mut first = [0];
            if stream.peek(&mut first).await.is_ok_and(|bytes| bytes == 1) && first[0] != HANDSHAKE {
                return Some(Err(stream));
            }
            let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config);
            match TlsAcceptor::from(config).accept(SlowClientTimeout::new(stream)).await {
                Ok(stream) => Some(Ok(stream)),
                Err(error) => {
                    debug!(peer = %peer.0, %error, "a handshake failed");
                    None
                }
            }
        };
        match timeout(HANDSHAKE_PATIENCE, shaking).await {
            Ok(Some(Ok(stream))) => Some(stream),
            Ok(Some(Err(stream))) => {
                let _ = timeout(FAREWELL, say_https(stream)).await;
                None
            }
            Ok(None) => None,
            Err(_) => {
                debug!(peer = %peer.0, "a handshake took too long");
                None
            }
        }
    }
}

/// Answers a client that speaks HTTP without TLS.
async fn say_https(mut stream: TcpStream) -> io::Result<()> {
    const BODY: &str = concat!(
        r#"{"type":"urn:vectorizer:problem:https-required","title":"HTTPS is required","status":400,"#,
        r#""detail":"this port speaks HTTPS: use an address that begins with https://"}"#
    );
    let mut first = [0; 8];
    let read = stream.read(&mut first).await?;
    if !first[..read].first().is_some_and(u8::is_ascii_uppercase) {
        return Ok(());
    }
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Unread bytes would make the kernel reset the connection.
    tokio::io::copy(&mut (&mut stream).take(FAREWELL_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

impl Current {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        // IMPORTANT, the order: if the files change in the meantime, they are read again.
        let version = versions(files);
        let chain = chain(&files.cert)?;
        let key = private_key(&files.key)?;
        let unusable =
            |source| TlsError::Unusable { cert: files.cert.clone(), key: files.key.clone(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), version })
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const KEY: &str = "server.tls.cert";
    let text = read(KEY, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| not_pem(KEY, path, &error))?;
    if chain.is_empty() {
        return Err(TlsError::Nothing { key: KEY, path: path.to_owned(), wanted: "certificate" });
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const KEY: &str = "server.tls.key";
    let text = read(KEY, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) {
            TlsError::Nothing { key: KEY, path: path.to_owned(), wanted: "private key without a password" }
        } else {
            not_pem(KEY, path, &error)
        }
    })
}

/// Without content of the file, which may be a key.
fn not_pem(key: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    let reason = if matches!(error, pem::Error::MissingSectionEnd { .. }) {
        "a section has no end"
    } else if matches!(error, pem::Error::IllegalSectionStart { .. }) {
        "a section has no proper beginning"
    } else if matches!(error, pem::Error::Base64Decode(_)) {
        "what is in a section is not base64"
    } else {
        "it cannot be read"
    };
    TlsError::NotPem { key, path: path.to_owned(), reason: reason.to_owned() }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| {
        if key == "server.tls.key" && file.metadata()?.mode() & 0o007 != 0 {
            warn!(?path, "every user of this machine may read the private key");
        }
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)
    });
    let read = read.and_then(|bytes| {
        let fits = bytes as u64 <= FILE_BYTES_MAX;
        if fits { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    });
    read.map_err(|source| TlsError::Unreadable { key, path: path.to_owned(), source })?;
    Ok(text)
}

fn versions(files: &TlsFiles) -> Option<[FileVersion; 2]> {
    let version = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    Some([version(&files.cert)?, version(&files.key)?])
}
