//! CloudEvents as the producers of the stories publish them.
//!
//! Start at [`Producer`]. It awaits the stream's own acknowledgement, so that what a test counts is really there.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use lifeline_ops::servers::NatsServer;
use serde_json::{Value, json};

use super::Failure;

/// Publishes under way at once, when many are asked for.
const WINDOW: usize = 500;

/// The stream must be ours to publish to by then; a server that comes back takes a moment to lead its streams again.
const STORED_WITHIN: Duration = Duration::from_secs(20);

/// A CloudEvent to publish, in structured mode.
#[derive(Debug, Clone)]
pub struct Event(Value);

impl Event {
    /// The seed's event: `kind` is `login` or `logout`.
    #[must_use]
    pub fn user(kind: &str, subject: &str) -> Self {
        Self::of("auth.example.com", subject, &format!("auth.example.com.{kind}"))
            .data(json!({ "message": format!("User {subject} {kind}") }))
    }

    /// An event without data.
    #[must_use]
    pub fn of(source: &str, subject: &str, kind: &str) -> Self {
        Self(json!({
            "specversion": "1.0",
            "type": kind,
            "source": source,
            "id": "10001",
            "subject": subject,
        }))
    }

    /// The same with JSON data.
    #[must_use]
    pub fn data(mut self, data: Value) -> Self {
        self.0["datacontenttype"] = json!("application/json");
        self.0["data"] = data;
        self
    }

    /// The same with another attribute.
    #[must_use]
    pub fn with(mut self, attribute: &str, value: &str) -> Self {
        self.0[attribute] = json!(value);
        self
    }
}

impl From<Event> for Bytes {
    fn from(event: Event) -> Self {
        event.0.to_string().into()
    }
}

/// Somebody who publishes to one NATS subject.
#[derive(Debug, Clone)]
pub struct Producer {
    jetstream: jetstream::Context,
    subject: String,
}

impl Producer {
    /// Connects to a server that lets everybody in.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn connect(server: &NatsServer, subject: &str) -> Result<Self, Failure> {
        Ok(Self::on(async_nats::connect(server.url()).await?, subject))
    }

    /// Uses a connection.
    #[must_use]
    pub fn on(client: async_nats::Client, subject: &str) -> Self {
        Self { jetstream: jetstream::new(client), subject: subject.to_owned() }
    }

    /// The server's JetStream.
    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Makes the stream that holds the subject, for tests in which it is there before the engine.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn make_stream(&self, name: &str) -> Result<stream::Stream, Failure> {
        let config =
            stream::Config { name: name.to_owned(), subjects: vec![self.subject.clone()], ..Default::default() };
        Ok(self.jetstream.create_stream(config).await?)
    }

    /// Publishes, and waits until the stream has stored it; its sequence.
    ///
    /// # Errors
    /// When no stream stores it.
    pub async fn publish(&self, payload: impl Into<Bytes>) -> Result<u64, Failure> {
        self.publish_to(&self.subject, payload).await
    }

    /// The same to another subject.
    ///
    /// # Errors
    /// When no stream stores it.
    pub async fn publish_to(&self, subject: &str, payload: impl Into<Bytes>) -> Result<u64, Failure> {
        let payload = payload.into();
        let mut last = Failure::from("nothing was tried");
        let deadline = tokio::time::Instant::now() + STORED_WITHIN;
        while tokio::time::Instant::now() < deadline {
            match self.jetstream.publish(subject.to_owned(), payload.clone()).await {
                Ok(stored) => match stored.await {
                    Ok(stored) => return Ok(stored.sequence),
                    // No stream holds the subject (yet): nothing was stored, so nothing is published twice.
                    Err(error) if error.kind() == jetstream::context::PublishErrorKind::StreamNotFound => {
                        last = error.into();
                    }
                    Err(error) => return Err(error.into()),
                },
                Err(error) => last = error.into(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(last)
    }

    /// Publishes many in order, without waiting for each; they are all stored when it returns.
    ///
    /// # Errors
    /// When one is not stored.
    pub async fn publish_all(&self, events: impl IntoIterator<Item = Event>) -> Result<(), Failure> {
        let mut under_way = std::collections::VecDeque::new();
        for event in events {
            if under_way.len() == WINDOW {
                under_way.pop_front().map(IntoFuture::into_future).expect("the window is not empty").await?;
            }
            let payload = Bytes::from(event);
            under_way.push_back(self.jetstream.publish(self.subject.clone(), payload).await?);
        }
        for stored in under_way {
            stored.await?;
        }
        Ok(())
    }
}
