//! Certificates for tests, and both ends of a connection against each other.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;

use super::client::Trust;
use super::server::Identity;
use super::*;

/// A certificate authority for one test.
pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        Authority { certificate, issuer: Issuer::new(parameters, key) }
    }

    /// For 127.0.0.1 and localhost, for a long time.
    pub fn issue(&self) -> Issued {
        self.issue_for(&["127.0.0.1", "localhost"], (2020, 1, 1), (2090, 1, 1))
    }

    pub fn issue_for(&self, names: &[&str], from: (i32, u8, u8), to: (i32, u8, u8)) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let parameters = parameters(names, from, to);
        Issued {
            certificate: parameters.signed_by(&key, &self.issuer).expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

fn parameters(names: &[&str], from: (i32, u8, u8), to: (i32, u8, u8)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters.not_before = date_time_ymd(from.0, from.1, from.2);
    parameters.not_after = date_time_ymd(to.0, to.1, to.2);
    parameters
}

/// What `openssl req -x509` makes: signed by itself, and allowed to sign others.
pub fn self_signed(names: &[&str], from: (i32, u8, u8), to: (i32, u8, u8)) -> Issued {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = parameters(names, from, to);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issued { certificate: parameters.self_signed(&key).expect("a certificate").pem(), key: key.serialize_pem() }
}

impl Issued {
    pub fn certificate_der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate")
    }

    /// An identity in files of this folder.
    pub fn identity(&self, folder: &Path) -> Arc<Identity> {
        let files = Files { certificate: folder.join("c.pem"), key: folder.join("k.pem") };
        std::fs::write(&files.certificate, &self.certificate).expect("a file");
        std::fs::write(&files.key, &self.key).expect("a file");
        Arc::new(Identity::open(files).expect("an identity"))
    }
}

/// What comes of a handshake with `issued` for the host `name`, where the client trusts `ca`.
async fn shake(issued: &Issued, ca: &str, name: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let identity = issued.identity(folder.path());
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, ca).expect("a file");
    let trust = Trust::open(Some(&path)).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        if let Ok(mut stream) = identity.acceptor().accept(stream).await {
            let _ = stream.write_all(b"hi").await;
            let _ = stream.shutdown().await;
        }
    });
    let stream = TcpStream::connect(address).await.expect("a server");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connected = trust.connector().connect(name, stream).await;
    let mut stream = connected.map_err(|error| trust.explain(&error))?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.map_err(|error| trust.explain(&error))?;
    assert_eq!(said, "hi");
    serving.await.expect("no panic");
    Ok(())
}

#[tokio::test]
async fn who_is_trusted_and_what_is_said_of_the_others() {
    let check = async |issued: &Issued, ca: &str, name: &str, expected: &str| {
        let said = shake(issued, ca, name).await.err().unwrap_or_default();
        assert!(
            said.contains(expected) && said.is_empty() == expected.is_empty(),
            "{name}: `{said}`, expected `{expected}`"
        );
    };
    let (authority, other) = (Authority::new(), Authority::new());
    let (from, to) = ((2020, 1, 1), (2090, 1, 1));
    let issued = authority.issue();
    check(&issued, &authority.certificate, "127.0.0.1", "").await;
    check(&issued, &authority.certificate, "localhost", "").await;
    // A file may hold several.
    check(&issued, &format!("{}{}", other.certificate, authority.certificate), "localhost", "").await;
    check(&issued, &other.certificate, "127.0.0.1", "signed by none of the authorities in").await;
    check(&issued, &authority.certificate, "engine", "is for `127.0.0.1`, `localhost`, not for `engine`").await;
    check(&issued, &authority.certificate, "127.0.0.2", "not for `127.0.0.2`").await;
    let old = authority.issue_for(&["localhost"], (2001, 1, 1), (2002, 1, 1));
    check(&old, &authority.certificate, "localhost", "expired at 2002-01-01T00:00:00Z\nhint: renew").await;
    let young = authority.issue_for(&["localhost"], (2080, 1, 1), to);
    check(&young, &authority.certificate, "localhost", "not valid yet\nhint: compare the clocks").await;
    // Trusted itself, as `openssl req -x509` makes it; and what is not in its certificate is checked all the same.
    let own = self_signed(&["localhost"], from, to);
    check(&own, &own.certificate, "localhost", "").await;
    check(&own, &own.certificate, "127.0.0.1", "is for `localhost`, not for `127.0.0.1`").await;
    check(&own, &authority.certificate, "localhost", "is its own authority, and is not trusted\nhint: if it").await;
    let old = self_signed(&["localhost"], (2001, 1, 1), (2002, 1, 1));
    check(&old, &old.certificate, "localhost", "expired").await;
    let young = self_signed(&["localhost"], (2080, 1, 1), to);
    check(&young, &young.certificate, "localhost", "not valid yet").await;
    check(&issued, "", "localhost", "ca.pem` holds no certificate").await;
}
