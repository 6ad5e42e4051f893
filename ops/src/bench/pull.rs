//! The yardstick: how fast async-nats itself pulls the same stream, and a publisher that is sure of what it published.
//!
//! Start at [`raw_pull`]. `lifeline bench intake` prints its own rate as a ratio to this one, from the same run.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self};
use bytes::Bytes;
use futures::StreamExt;

use lifeline_engine::intake::Error;

/// Time without a message after which the library's stream is taken for stalled.
const STALL: Duration = Duration::from_secs(10);

/// Publish acknowledgements that may be outstanding.
const WINDOW: usize = 1_000;

/// Pulls `count` messages with async-nats' own `stream()`: `ack all`, one acknowledgement per `batch`, payload unread.
///
/// The consumer is made again, from the first message. The time runs from its opening to the last message.
///
/// # Errors
/// When JetStream refuses, or when nothing comes for ten seconds though messages wait (a known stall of the library):
/// repeat the measurement then.
pub(super) async fn raw_pull(
    client: &Client,
    stream: &str,
    durable: &str,
    batch: usize,
    count: u64,
) -> Result<Duration, Error> {
    let fail = |operation: &str| {
        let operation = operation.to_owned();
        move |cause: async_nats::Error| Error::NoAnswer { operation, cause }
    };
    let context = jetstream::new(client.clone());
    let stream = context.get_stream(stream).await.map_err(|error| fail("STREAM.INFO")(error.into()))?;
    let _ = stream.delete_consumer(durable).await;
    let config = pull::Config {
        durable_name: Some(durable.to_owned()),
        ack_policy: AckPolicy::All,
        max_ack_pending: i64::try_from(8 * batch).unwrap_or(i64::MAX),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| fail("CONSUMER.CREATE")(error.into()))?;
    let started = Instant::now();
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(batch)
        .messages()
        .await
        .map_err(|error| fail("CONSUMER.MSG.NEXT")(error.into()))?;
    let mut seen = 0_u64;
    while seen < count {
        let message = match tokio::time::timeout(STALL, messages.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(fail("CONSUMER.MSG.NEXT")(error.into())),
            Ok(None) | Err(_) => {
                return Err(Error::Silent {
                    stream: stream.cached_info().config.name.clone(),
                    consumer: durable.to_owned(),
                    seconds: STALL.as_secs(),
                });
            }
        };
        seen += 1;
        if seen.is_multiple_of(batch as u64) || seen == count {
            message.ack().await.map_err(fail("acknowledge"))?;
        }
    }
    Ok(started.elapsed())
}

/// Publishes payloads on `subject` and returns once the stream has acknowledged every one of them.
///
/// # Errors
/// When the server refuses or does not acknowledge a message.
pub(super) async fn publish_events(
    client: &Client,
    subject: &str,
    payloads: impl IntoIterator<Item = Bytes>,
) -> Result<u64, Error> {
    let fail = |cause: jetstream::context::PublishError| Error::NoAnswer {
        operation: "publish".to_owned(),
        cause: Box::new(cause),
    };
    let context = jetstream::context::ContextBuilder::new().max_ack_inflight(2 * WINDOW).build(client.clone());
    let mut outstanding = VecDeque::with_capacity(WINDOW);
    let mut count = 0;
    for payload in payloads {
        if outstanding.len() == WINDOW
            && let Some(oldest) = outstanding.pop_front()
        {
            let acknowledgement: jetstream::context::PublishAckFuture = oldest;
            acknowledgement.await.map_err(fail)?;
        }
        outstanding.push_back(context.publish(subject.to_owned(), payload).await.map_err(fail)?);
        count += 1;
    }
    for acknowledgement in outstanding {
        acknowledgement.await.map_err(fail)?;
    }
    Ok(count)
}
