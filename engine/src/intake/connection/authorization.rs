//! How to get into a NATS server: user and password, token, NKey, credentials, certificates.
//!
//! Start at [`Authorization`]. What the JSON says of it is read here, and what files beside the JSON or a URL say ([`Files`]).
//! Everything is kept by content, so that a file that changed is seen as a change. No text here prints a secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::ConnectOptions;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{self, ClientConfig, RootCertStore};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::Value;

use super::{Connection, Mistakes, Server};
use crate::intake::Error;

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Hidden(pub(super) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// How to get in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Authorization {
    pub(super) user: Option<(String, Hidden)>,
    pub(super) token: Option<Hidden>,
    /// A JWT and its seed, in the form of a credentials file.
    pub(super) credentials: Option<Hidden>,
    /// The seed of an NKey.
    pub(super) nkey: Option<Hidden>,
    /// Certificate and key, PEM.
    pub(super) client_certificate: Option<(String, Hidden)>,
    /// PEM.
    pub(super) root_ca: Option<String>,
}

/// How to get in, as settings say it beside a URL or the JSON, which they outweigh. Each is the path of a file but the domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// A credentials file: a JWT and its seed.
    pub credentials: Option<PathBuf>,
    /// The seed of an NKey.
    pub nkey: Option<PathBuf>,
    /// Certificates of the authorities that may vouch for the server, PEM.
    pub authorities: Option<PathBuf>,
    /// The certificate to show and its key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The JetStream domain.
    pub domain: Option<String>,
}

impl Connection {
    /// The same, with what the files say in place of what it said of that. They are read now.
    ///
    /// # Errors
    /// When a file cannot be read, or does not hold what it should: all mistakes at once.
    pub fn with_files(mut self, files: &Files) -> Result<Connection, Error> {
        let mut mistakes = Mistakes::default();
        let (mut read, mut remedies) = (Authorization::default(), Vec::new());
        let mut text = |setting: &str, path: &Path| match std::fs::read_to_string(path) {
            Ok(text) => {
                remedies.push(format!("`{}` ({setting})", path.display()));
                Some(text)
            }
            Err(error) => {
                mistakes.add(setting, &format!("names `{}`, which cannot be read: {error}", path.display()));
                None
            }
        };
        let credentials = files.credentials.as_deref().and_then(|path| text("nats_credentials", path));
        let nkey = files.nkey.as_deref().and_then(|path| text("nats_nkey", path));
        let authorities = files.authorities.as_deref().and_then(|path| text("nats_ca", path));
        let pair = files.certificate.as_ref().and_then(|(certificate, key)| {
            let pair = (text("nats_cert", certificate), text("nats_key", key));
            pair.0.zip(pair.1)
        });
        if let Some(credentials) = credentials {
            read.credentials = mistakes.credentials("nats_credentials", &credentials);
        }
        if let Some(nkey) = nkey {
            read.nkey = mistakes.seed("nats_nkey", &nkey);
        }
        read.root_ca = mistakes.pem("nats_ca", authorities.map(Value::from).as_ref(), "CERTIFICATE");
        if let Some((certificate, key)) = pair {
            read.client_certificate =
                mistakes.pair(["nats_cert", "nats_key"], Some(&certificate.into()), Some(&key.into()));
        }
        mistakes.into_result("settings")?;
        for server in &mut self.servers {
            let said = &mut server.authorization;
            // Who we are comes from one place.
            if read.credentials.is_some() || read.nkey.is_some() {
                (said.user, said.token) = (None, None);
                (said.credentials, said.nkey) = (read.credentials.clone(), read.nkey.clone());
            }
            said.root_ca = read.root_ca.clone().or(said.root_ca.take());
            said.client_certificate = read.client_certificate.clone().or(said.client_certificate.take());
            if !remedies.is_empty() {
                server.remedy = remedies.join(", ");
            }
            server.domain = files.domain.clone().or(server.domain.take());
        }
        Ok(self)
    }
}

impl Mistakes {
    pub(super) fn authorization(&mut self, field: &str, value: &Value) -> Authorization {
        let mut authorization = Authorization::default();
        let Some(object) =
            self.strict_object(field, value, &["user", "token", "credentials", "jwt", "nkey", "clientCert", "rootCA"])
        else {
            return authorization;
        };
        if let Some(user) = object.get("user").filter(|user| !user.is_null()) {
            let field = format!("{field}.user");
            if let Some(user) = self.strict_object(&field, user, &["user", "password"]) {
                let name = self.text(&format!("{field}.user"), user.get("user"));
                let password = self.text(&format!("{field}.password"), user.get("password"));
                match name {
                    Some(name) => {
                        authorization.user = Some((name.to_owned(), Hidden(password.unwrap_or_default().to_owned())));
                    }
                    None => self.add(&format!("{field}.user"), "is missing or empty"),
                }
            }
        }
        authorization.token =
            self.text(&format!("{field}.token"), object.get("token")).map(|token| Hidden(token.to_owned()));
        let credentials = self.text(&format!("{field}.credentials"), object.get("credentials"));
        authorization.credentials =
            credentials.and_then(|text| self.credentials(&format!("{field}.credentials"), text));
        let jwt = self.text(&format!("{field}.jwt"), object.get("jwt"));
        let nkey = self.text(&format!("{field}.nkey"), object.get("nkey"));
        authorization.nkey = nkey.and_then(|seed| self.seed(&format!("{field}.nkey"), seed));
        match (jwt, authorization.nkey.take()) {
            (Some(jwt), Some(Hidden(seed))) => authorization.credentials = Some(Hidden(credentials_of(jwt, &seed))),
            (Some(_), None) if nkey.is_none() => {
                self.add(&format!("{field}.jwt"), "is there, but `nkey`, the seed to sign with, is missing");
            }
            (_, nkey) => authorization.nkey = nkey,
        }
        let said: Vec<&str> = ["user", "token", "credentials", "nkey"]
            .into_iter()
            .filter(|name| object.get(*name).is_some_and(|value| !value.is_null() && value.as_str() != Some("")))
            .collect();
        if let [one, another, ..] = said.as_slice() {
            self.add(field, &format!("has `{one}` and `{another}`, and we can be only one of them; leave one out"));
        }
        if let Some(pair) = object.get("clientCert").filter(|pair| !pair.is_null()) {
            let field = format!("{field}.clientCert");
            if let Some(pair) = self.strict_object(&field, pair, &["certPem", "keyPem"]) {
                let names = [format!("{field}.certPem"), format!("{field}.keyPem")];
                let names = [names[0].as_str(), names[1].as_str()];
                authorization.client_certificate = self.pair(names, pair.get("certPem"), pair.get("keyPem"));
            }
        }
        authorization.root_ca = self.pem(&format!("{field}.rootCA"), object.get("rootCA"), "CERTIFICATE");
        authorization
    }

    /// PEM as it is, or in base64 (as Go writes bytes into JSON).
    fn pem(&mut self, field: &str, value: Option<&Value>, what: &str) -> Option<String> {
        let text = self.text(field, value)?;
        let pem = if text.contains("-----BEGIN") {
            text.to_owned()
        } else {
            let compact: String = text.split_whitespace().collect();
            BASE64.decode(compact.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
        };
        let parses = match what {
            "CERTIFICATE" => CertificateDer::pem_slice_iter(pem.as_bytes()).next().is_some_and(|one| one.is_ok()),
            _ => pem.contains("-----BEGIN"),
        };
        if !parses {
            self.add(field, &format!("holds no {} in PEM, plain or in base64", what.to_lowercase()));
            return None;
        }
        Some(pem)
    }

    /// A certificate and its key.
    fn pair(
        &mut self,
        [certificate_field, key_field]: [&str; 2],
        certificate: Option<&Value>,
        key: Option<&Value>,
    ) -> Option<(String, Hidden)> {
        let certificate = self.pem(certificate_field, certificate, "CERTIFICATE");
        let key = self.pem(key_field, key, "PRIVATE KEY");
        let last = |field: &str| field.rsplit('.').next().unwrap_or_default().to_owned();
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                if PrivateKeyDer::from_pem_slice(key.as_bytes()).is_err() {
                    self.add(key_field, "holds no private key in PEM");
                }
                Some((certificate, Hidden(key)))
            }
            (None, Some(_)) => {
                self.add(certificate_field, &format!("is missing, but `{}` is there", last(key_field)));
                None
            }
            (Some(_), None) => {
                self.add(key_field, &format!("is missing, but `{}` is there", last(certificate_field)));
                None
            }
            (None, None) => None,
        }
    }

    /// The content of a credentials file.
    fn credentials(&mut self, field: &str, text: &str) -> Option<Hidden> {
        if ConnectOptions::new().credentials(text).is_err() {
            self.add(
                field,
                "holds no credentials, expected a JWT and the seed of its NKey, as `nsc generate creds` writes them",
            );
            return None;
        }
        Some(Hidden(text.to_owned()))
    }

    /// The seed of an NKey, alone or in a file with remarks around it.
    fn seed(&mut self, field: &str, text: &str) -> Option<Hidden> {
        let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
        let seed = seed.filter(|seed| ConnectOptions::new().credentials(&credentials_of("none", seed)).is_ok());
        if seed.is_none() {
            self.add(field, "holds no seed of a user's NKey, expected 58 characters from `SU` on");
        }
        seed.map(|seed| Hidden(seed.to_owned()))
    }
}

/// A JWT and its seed, as a credentials file has them.
fn credentials_of(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
        jwt.trim()
    )
}

impl Server {
    /// The certificates that the connection rests on, PEM: what each is for, and its text.
    #[must_use]
    pub fn certificates(&self) -> Vec<(&'static str, &str)> {
        let shown = self.authorization.client_certificate.as_ref().map(|(pem, _)| ("client certificate", pem.as_str()));
        let authorities = self.authorization.root_ca.as_deref().map(|pem| ("authority", pem));
        shown.into_iter().chain(authorities).collect()
    }

    /// When the JWT of the credentials expires, in seconds since 1970; `None` where there is none, or it does not expire.
    #[must_use]
    pub fn credentials_expire_unix_seconds(&self) -> Option<i64> {
        let Hidden(text) = self.authorization.credentials.as_ref()?;
        let token = text.lines().find(|line| line.trim().starts_with("ey"))?;
        let claims = BASE64URL_NOPAD.decode(token.trim().split('.').nth(1)?.as_bytes()).ok()?;
        serde_json::from_slice::<Value>(&claims).ok()?["exp"].as_i64()
    }
}

impl Authorization {
    pub(super) fn who(&self) -> String {
        match self {
            Authorization { user: Some((user, _)), .. } => format!("the user `{user}`"),
            Authorization { token: Some(_), .. } => "the token".to_owned(),
            Authorization { credentials: Some(_), .. } => "the credentials".to_owned(),
            Authorization { nkey: Some(_), .. } => "the NKey".to_owned(),
            Authorization { client_certificate: Some(_), .. } => "the client certificate".to_owned(),
            _ => "a connection without credentials".to_owned(),
        }
    }

    pub(super) fn tls(&self) -> Result<Option<ClientConfig>, Box<dyn std::error::Error + Send + Sync>> {
        if self.client_certificate.is_none() && self.root_ca.is_none() {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        match &self.root_ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(certificate?)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(Some(match &self.client_certificate {
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.0.as_bytes())?)?
            }
            None => builder.with_no_client_auth(),
        }))
    }
}
