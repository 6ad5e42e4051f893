//! TLS on both ends of the API: the identity that an engine shows, and whom the command line trusts.
//!
//! Start at [`server::Identity`] and [`client::Trust`]. Both speak TLS 1.2 and 1.3 only, with the cryptography of ring,
//! which the clients of NATS and Kubernetes use as well. No protocol is made here: rustls speaks it.

pub mod client;
pub mod server;
pub(crate) mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Files with a certificate and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate of the engine, then those that lead to its authority.
    pub certificate: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// Why files cannot be used for TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("TLS file `{path}` cannot be read: {reason}\nhint: check the path, and that it may be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file has no certificate where one is expected, or one that is damaged.
    #[error("`{path}` holds no certificate: {reason}\nhint: expected PEM, with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file has no private key.
    #[error(
        "`{path}` holds no private key: {reason}\nhint: expected PEM without a password, with `-----BEGIN PRIVATE KEY-----`; `openssl \
         pkey -in FILE` takes a password off"
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Both can be read, and do not fit.
    #[error(
        "the key in `{key}` is not that of the certificate in `{certificate}`\nhint: the file begins with the certificate of the engine, its authorities follow"
    )]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// Both can be read, and rustls does not take them.
    #[error("the certificate in `{path}` cannot be used: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate whose time is over.
    #[error("the certificate in `{path}` expired at {expired}\nhint: renew it")]
    Expired {
        /// The file.
        path: PathBuf,
        /// Until when it was good.
        expired: jiff::Timestamp,
    },
    /// This machine trusts nobody.
    #[error(
        "this machine has no list of trusted authorities\nhint: name the file of the engine's authority with `--ca FILE`, or install `ca-certificates`"
    )]
    NoAuthorities,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let none = |reason: String| Error::NoCertificate { path: path.to_owned(), reason };
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(none("there is none in it".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(none(error.to_string())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
pub(crate) mod tests;
