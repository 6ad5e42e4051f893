//! Where the HTTP API listens: TCP connections, with TLS or without, each given up when its client is too slow.
//!
//! Start at [`serve`]. A client that connects, asks and then reads nothing would hold its answer in memory for ever: no
//! other timeout covers bytes that wait in the socket. One that says nothing would hold a socket. Nobody waits for a
//! client here but the task of its own connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::api::problem::Problem;
use crate::tls::server::Identity;

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A client may read nothing for this long.
    pub unread_max: Duration,
    /// From connecting to the end of the TLS handshake.
    pub handshake_max: Duration,
    /// For the head of a request, also until the next one begins. Longer than a minute: so often do scrapers ask.
    pub head_max: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let [unread_max, handshake_max, head_max] = [30, 10, 75].map(Duration::from_secs);
        Bounds { unread_max, handshake_max, head_max }
    }
}

/// Answers requests on `listener` until it is dropped, over TLS alone where there is an identity to show.
pub async fn serve(
    listener: TcpListener,
    bounds: Bounds,
    identity: Option<Arc<Identity>>,
    router: Router,
) -> Infallible {
    let mut listener = Impatient { inner: listener, patience: bounds.unread_max };
    loop {
        let (connection, _) = listener.accept().await;
        let (identity, router) = (identity.clone(), router.clone());
        // Of its own: a handshake that takes long keeps nobody else out.
        tokio::spawn(async move {
            let ended = match identity {
                None => speak_http(connection, bounds, true, router).await.map_err(|error| error.to_string()),
                Some(identity) => speak_tls(connection, bounds, &identity, router).await,
            };
            if let Err(error) = ended {
                debug!("a connection ended: {error}");
            }
        });
    }
}

async fn speak_tls(connection: Connection, bounds: Bounds, identity: &Identity, router: Router) -> Result<(), String> {
    let begun = timeout(bounds.handshake_max, begin(connection, identity)).await;
    let begun = begun.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| error.to_string())?;
    let spoken = match begun {
        Begun::Tls(stream) => speak_http(*stream, bounds, true, router).await,
        Begun::Plain(connection) => {
            let refusing = Router::new().fallback(async || Problem::tls_required());
            speak_http(connection, bounds, false, refusing).await
        }
    };
    spoken.map_err(|error| error.to_string())
}

/// How a client of the TLS port began.
enum Begun {
    Tls(Box<TlsStream<Connection>>),
    /// With a request. It gets its answer in the same way, for a person reads it.
    Plain(Connection),
}

async fn begin(connection: Connection, identity: &Identity) -> io::Result<Begun> {
    let mut first = [0];
    let length = connection.stream.peek(&mut first).await?;
    // A handshake begins with byte 22, a request with the letters of its method.
    if length == 1 && first[0].is_ascii_alphabetic() {
        return Ok(Begun::Plain(connection));
    }
    Ok(Begun::Tls(Box::new(identity.acceptor().accept(connection).await?)))
}

async fn speak_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    bounds: Bounds,
    keep_alive: bool,
    router: Router,
) -> Result<(), hyper::Error> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head_max).keep_alive(keep_alive);
    http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await
}

/// A listener whose connections end when their clients read nothing.
struct Impatient {
    inner: TcpListener,
    patience: Duration,
}

impl Listener for Impatient {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.inner).await;
        // What is sent is sent whole: waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        (Connection { stream, patience: self.patience, waiting: None }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection whose client has to read.
struct Connection {
    stream: TcpStream,
    patience: Duration,
    /// Runs while there is something to write and no room for it.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// Passes on what writing said, unless it said "not now" for too long.
    fn patiently<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patiently(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.patiently(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::pki_types::ServerName;

    use super::*;
    use crate::tls::client::Trust;
    use crate::tls::tests::Authority;

    /// Shorter than the real ones, and each longer than what a busy machine needs.
    const SHORT: Bounds = Bounds {
        unread_max: Duration::from_millis(1_500),
        handshake_max: Duration::from_millis(1_000),
        head_max: Duration::from_millis(1_000),
    };

    const ANSWER_BYTES: usize = 64 << 20;

    /// A server on a port of its own, and what trusts it.
    async fn server(is_tls: bool, bounds: Bounds) -> (SocketAddr, Option<Trust>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, &authority.certificate).unwrap();
        let identity = is_tls.then(|| authority.issue().identity(folder.path()));
        let trust = is_tls.then(|| Trust::open(Some(&ca)).unwrap());
        let router = Router::new()
            .route("/small", get(async || "small"))
            .route("/large", get(async || vec![b'x'; ANSWER_BYTES]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, bounds, identity, router));
        (address, trust, folder)
    }

    trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
    impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

    async fn connect(address: SocketAddr, trust: Option<&Trust>) -> Box<dyn Stream> {
        let stream = TcpStream::connect(address).await.unwrap();
        match trust {
            None => Box::new(stream),
            Some(trust) => {
                let name = ServerName::try_from("localhost").unwrap();
                Box::new(trust.connector().connect(name, stream).await.unwrap())
            }
        }
    }

    async fn ask(stream: &mut dyn Stream, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up() {
        for is_tls in [false, true] {
            let (address, trust, _folder) = server(is_tls, SHORT).await;
            let mut stream = connect(address, trust.as_ref()).await;
            ask(&mut stream, "/large").await;
            sleep(SHORT.unread_max * 2).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{is_tls}");
            assert!(answer.len() < ANSWER_BYTES, "{is_tls}: what was not read in time is not sent");
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_gets_it_all() {
        for is_tls in [false, true] {
            let (address, trust, _folder) = server(is_tls, SHORT).await;
            let mut stream = connect(address, trust.as_ref()).await;
            ask(&mut stream, "/large").await;
            let (mut total, mut buffer, began) = (0, vec![0; 1 << 20], Instant::now());
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => break,
                    length => total += length,
                }
                // Longer in all than any bound.
                if began.elapsed() < SHORT.unread_max * 2 {
                    sleep(Duration::from_millis(50)).await;
                }
            }
            assert!(total > ANSWER_BYTES, "{is_tls}: {total}");
        }
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_let_go_and_keeps_nobody_out() {
        for is_tls in [false, true] {
            let (address, trust, _folder) = server(is_tls, SHORT).await;
            let mut silent = Vec::new();
            for _ in 0..50 {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            // One that says half of what it has to say: the begin of a handshake, or of a request.
            let half: &[u8] = if is_tls { b"\x16\x03\x01" } else { b"GET /small HTTP/1.1\r\nHos" };
            silent[0].write_all(half).await.unwrap();
            let began = Instant::now();
            let mut stream = connect(address, trust.as_ref()).await;
            ask(&mut stream, "/small").await;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("small"), "{answer}");
            assert!(began.elapsed() < SHORT.handshake_max, "it was answered while the silent ones were there");
            for mut stream in silent {
                let mut said = Vec::new();
                let ended = timeout(SHORT.handshake_max * 5, stream.read_to_end(&mut said)).await;
                assert!(ended.is_ok(), "{is_tls}: it is still connected");
            }
            assert!(began.elapsed() >= SHORT.handshake_max / 2, "not before its time");
        }
    }

    #[tokio::test]
    async fn plain_http_on_the_tls_port_gets_a_clear_end() {
        let (address, _trust, _folder) = server(true, Bounds::default()).await;
        let mut stream: Box<dyn Stream> = connect(address, None).await;
        ask(&mut stream, "/small").await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("\"tls-required\"") && answer.contains("https://"), "{answer}");
        // Neither TLS nor HTTP.
        for noise in [&b"\x00\x01\x02"[..], b"\x16hello\r\n\r\n", b"\xff"] {
            let mut stream = connect(address, None).await;
            stream.write_all(noise).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut said = Vec::new();
            timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await.expect("it is ended").ok();
            assert!(!said.starts_with(b"HTTP"), "{noise:?}");
        }
    }

    #[tokio::test]
    async fn tls_on_the_plain_port_is_named_by_the_client() {
        let (address, _, _folder) = server(false, Bounds::default()).await;
        let (_, trust, _other) = server(true, Bounds::default()).await;
        let trust = trust.expect("a trust");
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let error = trust.connector().connect(name, stream).await.map(drop).unwrap_err();
        let said = trust.explain(&error);
        assert!(said.starts_with("it speaks no TLS\nhint: ask it with `http://`"), "{said}");
    }
}
