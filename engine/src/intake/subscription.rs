//! The real plain subscriptions: those of the client library, in a queue group.
//!
//! The library drops what its channel of 65,536 messages cannot hold, and does not say how many. So a reader takes everything at
//! once into a buffer of its own, which counts what it has no room for ([`super::plain`]).
//!
//! Never here: what is done about a lost connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_nats::Subscriber;
use futures::future::{BoxFuture, poll_fn};
use futures::{FutureExt, Stream};
use tokio::sync::watch;

use super::Error;
use super::connection::ConnectionState;
use super::jetstream::Message;
use super::nats::Nats;
use super::plain::{Plain, Subscription};
use super::pull::sorted;
use crate::clock::{Clock, SystemClock};

/// Messages that are taken together, at most.
const TAKEN_MAX: usize = 1_000;

impl Plain for Nats {
    fn subscribe<'a>(
        &'a self,
        subject: &'a str,
        group: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, Error>> {
        async move {
            let subscriber = self.client().queue_subscribe(subject.to_owned(), group.to_owned()).await;
            let subscriber = subscriber.map_err(|cause| failed("subscribe", cause))?;
            // The server knows it before anything that is asked next.
            self.client().flush().await.map_err(|cause| failed("subscribe", cause))?;
            Ok(Box::new(Core { subscriber }) as Box<dyn Subscription>)
        }
        .boxed()
    }

    fn link(&self) -> watch::Receiver<ConnectionState> {
        self.connection_state()
    }
}

fn failed(operation: &str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::NoAnswer { operation: operation.to_owned(), cause: Box::new(cause) }
}

/// A subscription of the client library.
struct Core {
    subscriber: Subscriber,
}

impl Core {
    /// What is there, outside the cooperative budget of tokio, which would cut it to 128 messages.
    fn take(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<Message>>> {
        let mut taken = Vec::new();
        loop {
            match Pin::new(&mut self.subscriber).poll_next(context) {
                Poll::Ready(Some(message)) => taken.push(arrived(message)),
                Poll::Ready(None) if taken.is_empty() => return Poll::Ready(None),
                Poll::Pending if taken.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
            if taken.len() == TAKEN_MAX {
                break;
            }
        }
        Poll::Ready(Some(taken))
    }
}

impl Subscription for Core {
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<Message>>> {
        tokio::task::unconstrained(poll_fn(|context| self.take(context))).boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        async { self.subscriber.drain().await.map_err(|cause| failed("unsubscribe", cause)) }.boxed()
    }
}

/// A message with the time of arrival, for the server gives none.
fn arrived(message: async_nats::Message) -> Message {
    Message {
        sequence: 0,
        published_unix_nanos: SystemClock.now_unix_nanos(),
        headers: message.headers.as_ref().map(sorted).unwrap_or_default(),
        subject: message.subject,
        payload: message.payload,
    }
}
