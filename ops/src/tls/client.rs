//! Whom the command line trusts, and what to do when it does not.
//!
//! Start at [`Trust::open`]: an authority in a file, or those of the machine. [`Trust::explain`] says in words why a
//! handshake failed, with its remedy. A certificate is never left unchecked, and there is no switch for that.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme,
};

use super::validity::validity;
use super::{Error, certificates, provider, read};

/// Whom a client trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    /// The file that names them; `None` for those of the machine.
    ca: Option<PathBuf>,
}

impl Trust {
    /// Trusts what is in this file and nothing else, or the authorities of the machine where no file is named.
    ///
    /// # Errors
    /// When the file cannot be read or has no certificate, or the machine has no authorities.
    pub fn open(ca: Option<&Path>) -> Result<Trust, Error> {
        let mut roots = RootCertStore::empty();
        let mut pinned = Vec::new();
        match ca {
            Some(path) => {
                pinned = certificates(path, &read(path)?)?;
                for certificate in &pinned {
                    let unusable =
                        |error: rustls::Error| Error::Unusable { path: path.to_owned(), reason: error.to_string() };
                    roots.add(certificate.clone()).map_err(unusable)?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let verifier = Verifier { chains: chains.map_err(|_| Error::NoAuthorities)?, pinned };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Trust { config: Arc::new(config), ca: ca.map(Path::to_owned) })
    }

    /// What makes a connection a trusted one.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.config.clone())
    }
}

/// Checks chains as rustls does. A certificate that is itself in the file of trusted ones needs no chain, but its name
/// and its dates are checked: rustls refuses as a server's certificate what may sign others, and that is what `openssl
/// req -x509` makes.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.pinned.contains(end_entity) {
            return self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        let validity = validity(end_entity).ok_or(CertificateError::BadEncoding)?;
        let time = i64::try_from(now.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let time = time.ok_or(rustls::Error::FailedToGetCurrentTime)?;
        if time < *validity.start() {
            return Err(CertificateError::NotValidYet.into());
        }
        if time > *validity.end() {
            return Err(CertificateError::Expired.into());
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

impl Trust {
    /// Why a handshake failed, in words, and what to do.
    #[must_use]
    pub fn explain(&self, error: &io::Error) -> String {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(cause) = cause else { return explain_silence(error) };
        match cause {
            rustls::Error::InvalidCertificate(certificate) => self.explain_certificate(certificate),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "it speaks no TLS\nhint: ask it with `http://`, or start it with `--tls-cert` and `--tls-key`"
                    .to_owned()
            }
            rustls::Error::AlertReceived(alert) => {
                format!(
                    "it refuses TLS with the alert {alert:?}\nhint: it has to speak TLS 1.2 or 1.3, and to ask for no certificate of the client"
                )
            }
            rustls::Error::PeerIncompatible(_) | rustls::Error::PeerMisbehaved(_) => {
                format!("{cause}\nhint: it has to speak TLS 1.2 or 1.3")
            }
            other => other.to_string(),
        }
    }

    fn explain_certificate(&self, error: &CertificateError) -> String {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match &self.ca {
                Some(ca) => format!(
                    "its certificate is signed by none of the authorities in `{}`\nhint: give the file of the authority that \
                     signed it with `--ca FILE`",
                    ca.display()
                ),
                None => "its certificate is signed by an authority that this machine does not know\nhint: name the file of the \
                         authority with `--ca FILE` or LIFELINE_CA"
                    .to_owned(),
            },
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<String> = presented.iter().map(|name| format!("`{}`", name_of(name))).collect();
                let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
                format!(
                    "its certificate is for {names}, not for `{}`\nhint: ask it by a name of the certificate, or make one with \
                     this name as subjectAltName",
                    expected.to_str()
                )
            }
            CertificateError::NotValidForName => {
                "its certificate is for another name\nhint: ask it by a name of the certificate".to_owned()
            }
            CertificateError::ExpiredContext { not_after, .. } => {
                let at = i64::try_from(not_after.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
                let at = at.map(|at| format!(" at {at}")).unwrap_or_default();
                format!("its certificate expired{at}\nhint: renew the file that the engine has as `--tls-cert`; it is read again by itself")
            }
            CertificateError::Expired => {
                "its certificate expired\nhint: renew the file that the engine has as `--tls-cert`; it is read again by itself"
                    .to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet\nhint: compare the clocks of both machines".to_owned()
            }
            // rustls has no name for this one of webpki.
            CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "its certificate is its own authority, and is not trusted\nhint: if it is the one that the engine was given, copy it \
                 to this machine, and name it with `--ca FILE`"
                    .to_owned()
            }
            other => {
                let reason = rustls::Error::InvalidCertificate(other.clone());
                format!("{reason}\nhint: a certificate that is itself in the file of `--ca` is trusted")
            }
        }
    }
}

fn explain_silence(error: &io::Error) -> String {
    let said = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "it ended the connection".to_owned(),
        io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        _ => error.source().map_or_else(|| error.to_string(), ToString::to_string),
    };
    format!("{said} before TLS was there\nhint: if it speaks no TLS, ask it with `http://`")
}

/// A name as rustls presents it: `DnsName("engine")`, `IpAddress(127.0.0.1)`.
fn name_of(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    inner.trim_matches('"')
}
