//! The identity that an engine shows: a certificate and a key in files, read again when they change.
//!
//! Start at [`Identity::open`]. What is renewed (by cert-manager, by certbot, by hand) is used for the next connection;
//! what cannot be used is kept out, with a warning, and what was used before stays. A connection that is open keeps
//! what it began with.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, ServerConfig};
use tracing::{info, warn};

use super::validity::validity;
use super::{Error, Files, certificates, provider, read};

/// How often the files are compared with what is in use.
const PERIOD: Duration = Duration::from_secs(5);

/// The certificate and the key of an engine.
pub struct Identity {
    files: Files,
    used: Mutex<Used>,
}

struct Used {
    config: Arc<ServerConfig>,
    /// Until when the certificate is good, where it says so.
    until: Option<Timestamp>,
    /// What was read last, fit or not, so that a mistake is reported once.
    seen: Result<Pem, Error>,
}

/// The content of both files.
#[derive(Clone, PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    /// Reads both files.
    ///
    /// # Errors
    /// When they cannot be read or used, or do not belong together. A certificate that has expired is used, with a
    /// warning: an engine that does not start would stop more than its API.
    pub fn open(files: Files) -> Result<Identity, Error> {
        let pem = Pem::read(&files)?;
        let (config, until) = pem.parse(&files)?;
        let path = files.certificate.display();
        match until {
            Some(until) if until < Timestamp::now() => {
                warn!("the certificate in `{path}` expired at {until}: renew it")
            }
            Some(until) => info!("TLS with the certificate in `{path}`, which is good until {until}"),
            None => info!("TLS with the certificate in `{path}`"),
        }
        Ok(Identity { files, used: Mutex::new(Used { config, until, seen: Ok(pem) }) })
    }

    /// What a connection that begins now is shown.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.used.lock().config.clone())
    }

    /// Reads the files again whenever they change, for as long as it is polled.
    pub async fn follow(&self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            match self.read_again(Timestamp::now()) {
                Ok(false) => {}
                Ok(true) => info!("TLS certificate `{}` was read again", self.files.certificate.display()),
                Err(error) => warn!("new TLS files are not used, those in use are kept: {error}"),
            }
        }
    }

    /// Whether there is something new, which is used from now on.
    ///
    /// # Errors
    /// When there is something new that cannot be used. The same is not reported again.
    fn read_again(&self, now: Timestamp) -> Result<bool, Error> {
        let read = Pem::read(&self.files);
        let mut used = self.used.lock();
        if read == used.seen {
            return Ok(false);
        }
        used.seen = read.clone();
        let (config, until) = read?.parse(&self.files)?;
        if let Some(expired) = until.filter(|until| *until < now && used.until.is_none_or(|used| used > *until)) {
            return Err(Error::Expired { path: self.files.certificate.clone(), expired });
        }
        (used.config, used.until) = (config, until);
        Ok(true)
    }
}

impl Pem {
    fn read(files: &Files) -> Result<Pem, Error> {
        Ok(Pem { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn parse(&self, files: &Files) -> Result<(Arc<ServerConfig>, Option<Timestamp>), Error> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| Error::NoKey { path: files.key.clone(), reason: error.to_string() })?;
        let until = chain.first().and_then(|first| validity(first)).map(|range| *range.end());
        let unusable =
            |error: rustls::Error| Error::Unusable { path: files.certificate.clone(), reason: error.to_string() };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth();
        let config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Error::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
            }
            other => unusable(other),
        });
        let mut config = config?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((Arc::new(config), until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::{Authority, Issued};

    fn now() -> Timestamp {
        Timestamp::now()
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let issued = Authority::new().issue();
        let other = Authority::new().issue();
        let check = |certificate: Option<&str>, key: Option<&str>, expected: Option<&str>| {
            let files = Files { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
            for (path, text) in [(&files.certificate, certificate), (&files.key, key)] {
                match text {
                    Some(text) => std::fs::write(path, text).unwrap(),
                    None => drop(std::fs::remove_file(path)),
                }
            }
            let said = Identity::open(files).err().map(|error| error.to_string());
            match (&said, expected) {
                (None, None) => {}
                (Some(said), Some(expected)) => assert!(said.contains(expected), "{said}\nexpected {expected}"),
                _ => panic!("{said:?}, expected {expected:?}"),
            }
        };
        let (certificate, key) = (issued.certificate.as_str(), issued.key.as_str());
        check(Some(certificate), Some(key), None);
        // Both in one file, as HAProxy has it.
        let both = format!("{key}{certificate}");
        check(Some(&both), Some(&both), None);
        check(None, Some(key), Some("c.pem` cannot be read"));
        check(Some(certificate), None, Some("k.pem` cannot be read"));
        check(Some(""), Some(key), Some("c.pem` holds no certificate"));
        check(Some(key), Some(key), Some("c.pem` holds no certificate"));
        check(Some(certificate), Some(certificate), Some("k.pem` holds no private key"));
        check(Some(certificate), Some(&other.key), Some("k.pem` is not that of the certificate"));
        check(Some(&certificate[..certificate.len() / 2]), Some(key), Some("holds no certificate"));
        let garbled = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        check(Some(garbled), Some(key), Some("cannot be used"));
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        check(Some(certificate), Some(locked), Some("takes a password off"));
    }

    #[test]
    fn what_changes_is_used_and_what_cannot_be_used_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let write = |issued: &Issued| {
            std::fs::write(&files.certificate, &issued.certificate).unwrap();
            std::fs::write(&files.key, &issued.key).unwrap();
        };
        let authority = Authority::new();
        let (first, second) = (authority.issue(), authority.issue());
        write(&first);
        let identity = Identity::open(files.clone()).unwrap();
        let shown = || Arc::as_ptr(&identity.used.lock().config);
        let at_first = shown();
        assert_eq!(identity.read_again(now()), Ok(false));

        std::fs::write(&files.certificate, &second.certificate).unwrap();
        assert!(matches!(identity.read_again(now()), Err(Error::Mismatch { .. })), "half of a renewal");
        assert_eq!(identity.read_again(now()), Ok(false), "it is not said twice");
        std::fs::remove_file(&files.key).unwrap();
        assert!(matches!(identity.read_again(now()), Err(Error::Read { .. })));
        assert_eq!(identity.read_again(now()), Ok(false));
        write(&authority.issue_for(&["engine"], (2001, 1, 1), (2002, 1, 1)));
        assert!(matches!(identity.read_again(now()), Err(Error::Expired { .. })));
        assert_eq!(shown(), at_first, "what was used stays");

        write(&second);
        assert_eq!(identity.read_again(now()), Ok(true));
        assert_ne!(shown(), at_first);
    }
}
