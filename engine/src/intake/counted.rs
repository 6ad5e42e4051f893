//! Acknowledgements that are counted: how a reader knows that what it handed over is durable.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::Error;
use super::jetstream::Acknowledge;

/// An acknowledgement that is counted when the recorder sends it, which it does once the batch is durable.
pub(super) struct Counted {
    pub(super) inner: Box<dyn Acknowledge>,
    pub(super) acknowledged: Arc<watch::Sender<u64>>,
}

impl Acknowledge for Counted {
    fn send(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.acknowledged.send_modify(|count| *count += 1);
        self.inner.send()
    }
}
