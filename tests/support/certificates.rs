//! Certificates, and clients that trust them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use vectorizer_testing::PATIENCE;

use super::node::Node;

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) fn authority(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and a key in files, as renewals leave them.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    pub(crate) fn at(folder: &Path) -> Self {
        Self { cert: folder.join("cert.pem"), key: folder.join("key.pem") }
    }

    /// Issued by an authority between the root and the server, which is in the chain.
    pub(crate) fn issue(&self, root: &Authority) {
        let key = KeyPair::generate().unwrap();
        let between =
            CertifiedIssuer::signed_by(authority_params("between"), KeyPair::generate().unwrap(), root)
                .unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &between).unwrap();
        replace(&self.key, &key.serialize_pem());
        replace(&self.cert, &format!("{}{}", cert.pem(), between.pem()));
    }

    pub(crate) fn node(&self, data: &Path) -> Node {
        let flags = ["--tls-cert", self.cert.to_str().unwrap(), "--tls-key", self.key.to_str().unwrap()];
        Node::start("serve", data, &flags)
    }
}

pub(crate) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// A client that trusts this authority alone, from this address.
pub(crate) fn client_from(root: &Authority, address: [u8; 4]) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(root.pem().as_bytes()).unwrap();
    let client = vectorizer_http_client::client().timeout(PATIENCE).no_proxy().tls_certs_only([root]);
    client.local_address(IpAddr::from(address)).build().unwrap()
}

pub(crate) fn client(root: &Authority) -> reqwest::Client {
    client_from(root, [127, 0, 0, 1])
}
