//! An engine at the other end of a connection: where it is, how it is trusted, and what it is shown.
//!
//! Start at [`send`]. Every question has a connection of its own. A bearer token goes over TLS, or stays on this
//! machine; anything else the user has to say in so many words.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use super::Error;
use crate::tls::client::Trust;

/// Bytes that fit in a URI: what the library behind both ends of the API takes.
pub(super) const URI_BYTES_MAX: usize = u16::MAX as usize - 1;

/// How long a connection may take, and then TLS. An answer may take longer: an earlier state is folded from the whole
/// log.
const PATIENCE: Duration = Duration::from_secs(5);

/// An engine to ask, and what to show it.
#[derive(Debug, Clone)]
pub struct Server {
    /// `host:port`.
    address: String,
    /// Whom to trust, and the name to expect; absent where no TLS is spoken.
    tls: Option<(Trust, ServerName<'static>)>,
    /// The header that says who asks; absent where nobody wants to know.
    authorization: Option<HeaderValue>,
    /// Whether the header goes over plain HTTP to another machine.
    is_shown_over_http: bool,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.tls.is_some() { "https://" } else { "" }, self.address)
    }
}

impl Server {
    /// One at an `http://` or `https://` address, or at `host:port`.
    ///
    /// # Errors
    /// When it is no such address, or TLS is spoken and the file `ca` cannot be used.
    pub fn parse(server: &str, ca: Option<&Path>) -> Result<Server, Error> {
        let wrong = || Error::Server { server: server.to_owned() };
        let (is_tls, bare) = match server.split_once("://") {
            Some(("https", bare)) => (true, bare),
            Some(("http", bare)) => (false, bare),
            Some(_) => return Err(wrong()),
            None => (false, server),
        };
        let bare = bare.trim_end_matches('/');
        let parsed: Authority = bare.parse().map_err(|_| wrong())?;
        if parsed.as_str().contains('@') {
            return Err(wrong());
        }
        let port = if is_tls { 443 } else { 80 };
        let address = if parsed.port().is_some() { bare.to_owned() } else { format!("{bare}:{port}") };
        let tls = if is_tls {
            let host = parsed.host().trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
            Some((Trust::open(ca)?, name))
        } else {
            None
        };
        Ok(Server { address, tls, authorization: None, is_shown_over_http: false })
    }

    /// Shows it who asks.
    pub(super) fn show(&mut self, authorization: HeaderValue) {
        self.authorization = Some(authorization);
    }

    /// Shows it so also over plain HTTP, wherever it is.
    pub(super) fn show_over_http(&mut self) {
        self.is_shown_over_http = true;
    }

    #[cfg(test)]
    pub(super) fn shown(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    fn may_speak_to(&self, peer: IpAddr) -> bool {
        self.authorization.is_none()
            || self.tls.is_some()
            || self.is_shown_over_http
            || peer.to_canonical().is_loopback()
    }

    /// Connected, before anything is said.
    async fn connect(&self) -> Result<TcpStream, Error> {
        let connect = |source| Error::Connect { server: self.to_string(), source };
        let stream = timeout(PATIENCE, TcpStream::connect(&self.address)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(connect)?;
        // Decided by the address that was reached: a name may mean any.
        let peer = stream.peer_addr().map_err(connect)?;
        if self.may_speak_to(peer.ip()) { Ok(stream) } else { Err(Error::PlainToken { server: self.to_string() }) }
    }
}

/// Whether a URI has room for a path.
pub(super) fn check_length(path: &str) -> Result<(), Error> {
    if path.len() > URI_BYTES_MAX { Err(Error::Long { bytes: path.len() }) } else { Ok(()) }
}

/// Asks over a connection of its own; the answer has begun to arrive.
pub(crate) async fn send(
    server: &Server,
    path: &str,
    headers: &[(HeaderName, &str)],
) -> Result<Response<Incoming>, Error> {
    check_length(path)?;
    let stream = server.connect().await?;
    let mut request = Request::get(path).header(header::HOST, &server.address).header(header::CONNECTION, "close");
    if let Some(authorization) = &server.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Empty::new()).expect("the path is encoded and the address was checked");
    let Some((trust, name)) = &server.tls else { return exchange(server, stream, request).await };
    let spoken = timeout(PATIENCE, trust.connector().connect(name.clone(), stream)).await;
    let spoken = spoken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = spoken.map_err(|error| Error::Tls { server: server.to_string(), reason: trust.explain(&error) })?;
    exchange(server, stream, request).await
}

async fn exchange(
    server: &Server,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, Error> {
    // Canceled: it spoke before it was asked, as NATS servers do.
    let http = |source: hyper::Error| {
        let server = server.to_string();
        if source.is_parse() || source.is_canceled() {
            Error::NoHttp { server, source }
        } else {
            Error::Http { server, source }
        }
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    // The connection does the work while the answer is waited for and read; it ends with the answer, which says how.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(http)
}

/// The whole body of an answer.
pub(crate) async fn body(server: &Server, response: Response<Incoming>) -> Result<Bytes, Error> {
    let collected = response.into_body().collect().await;
    Ok(collected.map_err(|source| Error::Http { server: server.to_string(), source })?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_their_scheme() {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, crate::tls::tests::Authority::new().certificate).expect("a file");
        let check = |typed: &str, address: Option<&str>, shown: &str| {
            let server = Server::parse(typed, Some(&ca)).ok();
            assert_eq!(server.as_ref().map(|server| server.address.as_str()), address, "{typed}");
            assert_eq!(server.map(|server| server.to_string()).unwrap_or_default(), shown, "{typed}");
        };
        check("http://127.0.0.1:7717", Some("127.0.0.1:7717"), "127.0.0.1:7717");
        check("http://engine/", Some("engine:80"), "engine:80");
        check("[::1]:7717", Some("[::1]:7717"), "[::1]:7717");
        check("https://engine", Some("engine:443"), "https://engine:443");
        check("https://[::1]:7717/", Some("[::1]:7717"), "https://[::1]:7717");
        check("https://user@engine", None, "");
        check("https://two words", None, "");
        check("ftp://engine", None, "");
        check("http://user@engine", None, "");
        check("", None, "");
        check("http://engine:1/path", None, "");
    }

    #[test]
    fn a_question_that_no_uri_has_room_for_is_refused_by_its_size() {
        let fits = format!("/{}", "x".repeat(URI_BYTES_MAX - 1));
        assert!(check_length(&fits).is_ok());
        Request::get(&fits).body(()).expect("the library takes as much");
        let long = format!("{fits}x");
        assert!(Request::get(&long).body(()).is_err());
        let refused = check_length(&long).expect_err("it is too long").to_string();
        assert!(refused.starts_with("the question takes `65535` bytes, and a URI has room for `65534`"), "{refused}");
    }

    #[test]
    fn a_token_does_not_leave_the_machine_over_plain_http() {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, crate::tls::tests::Authority::new().certificate).expect("a file");
        let check = |typed: &str, has_token: bool, over_http: bool, peer: &str, expected: bool| {
            let mut server = Server::parse(typed, Some(&ca)).expect("an address");
            if has_token {
                server.show(HeaderValue::from_static("Bearer s3cret"));
            }
            if over_http {
                server.show_over_http();
            }
            let peer = peer.parse().expect("an address");
            assert_eq!(server.may_speak_to(peer), expected, "{typed} {has_token} {over_http} {peer}");
        };
        for peer in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            check("http://localhost:7717", true, false, peer, true);
        }
        for peer in ["10.0.0.5", "0.0.0.0", "fe80::1", "::ffff:10.0.0.5", "192.0.2.1"] {
            // Also a name that says it is here: what it means is what counts.
            check("http://localhost:7717", true, false, peer, false);
            check("http://localhost:7717", true, true, peer, true);
            check("http://localhost:7717", false, false, peer, true);
            check("https://engine:7717", true, false, peer, true);
        }
    }
}
