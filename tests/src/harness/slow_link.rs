//! A link between a NATS server and an engine that carries so many bytes a second.
//!
//! What the server sends waits in the link, as it does in the queues of a real one, so an answer comes after all that was
//! sent before it. Start at [`SlowLink::to`]. Never here: a byte that is changed, or lost.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::Failure;

/// Pieces a second in which bytes pass.
const PIECES: u32 = 50;

/// How late a piece may be without making the link slower.
const LATE_MAX: Duration = Duration::from_millis(100);

/// Where a slow link begins. It ends with the test program.
#[derive(Debug)]
pub struct SlowLink {
    port: u16,
}

impl SlowLink {
    /// A link to a server at `address`, by which it sends at most so many bytes a second to each client.
    ///
    /// # Errors
    /// When nothing can listen.
    pub fn to(address: &str, bytes_per_second: usize) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, address) = (listener.local_addr()?.port(), address.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&address) else { continue };
                let (Ok(client_reads), Ok(server_writes)) = (client.try_clone(), server.try_clone()) else { continue };
                thread::spawn(move || carry(client_reads, server_writes, usize::MAX));
                thread::spawn(move || carry(server, client, bytes_per_second));
            }
        });
        Ok(Self { port })
    }

    /// Where a client connects: `nats://127.0.0.1:4222`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

/// Carries bytes until one end closes.
fn carry(mut from: TcpStream, mut to: TcpStream, bytes_per_second: usize) {
    let mut free_at = Instant::now();
    let mut piece = vec![0; (bytes_per_second / PIECES as usize).clamp(1, 64 << 10)];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..bytes]).is_err() {
            break;
        }
        if bytes_per_second != usize::MAX {
            // A thread that slept too long makes up for it; a link that carried nothing does not.
            let now = Instant::now();
            free_at = free_at.max(now.checked_sub(LATE_MAX).unwrap_or(now));
            free_at += Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
            thread::sleep(free_at.saturating_duration_since(now));
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
