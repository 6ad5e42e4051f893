//! Where the HTTP API listens: TCP connections, each given up when its client reads nothing for too long.
//!
//! A client that connects, asks and then reads nothing would hold its answer in memory for ever: no other timeout covers
//! bytes that wait in the socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// A client may read nothing for this long.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// A listener whose connections end when their clients read nothing.
pub struct Impatient {
    inner: TcpListener,
    patience: Duration,
}

impl Impatient {
    /// Listens where `inner` does.
    #[must_use]
    pub fn new(inner: TcpListener) -> Impatient {
        Impatient { inner, patience: UNREAD_MAX }
    }
}

impl Listener for Impatient {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.inner).await;
        (Connection { stream, patience: self.patience, waiting: None }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection whose client has to read.
pub struct Connection {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn connected(patience: Duration) -> (Connection, TcpStream) {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut listener = Impatient { inner, patience };
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Listener::accept(&mut listener).await.0, client)
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (mut connection, _client) = connected(Duration::from_millis(200)).await;
        let error = connection.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_gets_it_all() {
        let (mut connection, mut client) = connected(Duration::from_millis(500)).await;
        let reading = tokio::spawn(async move {
            let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
            loop {
                match client.read(&mut buffer).await.unwrap() {
                    0 => return total,
                    length => total += length,
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        connection.write_all(&vec![0; 32 << 20]).await.unwrap();
        drop(connection);
        assert_eq!(reading.await.unwrap(), 32 << 20);
    }
}
