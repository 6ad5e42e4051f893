//! What the server says of a stream, in the words of the port. Pure; for [`super::nats`].

use async_nats::jetstream::stream::{Config, Info, RetentionPolicy, StorageType, SubjectTransform as Renamed};

use super::jetstream::{Copied, Retention, StreamState};
use super::transform::Transform;

/// JetStream's own: key-value buckets, object stores, anything hidden.
pub(super) fn internal(stream: &str) -> bool {
    stream.starts_with("KV_") || stream.starts_with("OBJ_") || stream.starts_with('$')
}

pub(super) fn state_of(info: &Info) -> StreamState {
    StreamState {
        name: info.config.name.clone(),
        created_unix_nanos: u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0),
        first_sequence: info.state.first_sequence,
        last_sequence: info.state.last_sequence,
        messages: info.state.messages,
        replicas: info.config.num_replicas,
        retention: match info.config.retention {
            RetentionPolicy::Limits => Retention::Limits,
            RetentionPolicy::Interest => Retention::Interest,
            RetentionPolicy::WorkQueue => Retention::WorkQueue,
        },
        subjects: info.config.subjects.clone(),
        copied: copied(&info.config),
        on_disk: info.config.storage == StorageType::File,
        erasable: !(info.config.deny_delete && info.config.deny_purge),
        consumers_kept: info
            .config
            .consumer_limits
            .as_ref()
            .map(|limits| limits.inactive_threshold)
            .filter(|threshold| !threshold.is_zero()),
    }
}

fn copied(config: &Config) -> Copied {
    let (elsewhere, here): (Vec<_>, Vec<_>) =
        config.mirror.iter().chain(config.sources.iter().flatten()).partition(|source| source.external.is_some());
    Copied {
        origins: here.into_iter().map(|source| source.name.clone()).collect(),
        is_elsewhere: !elsewhere.is_empty(),
        transform: config.subject_transform.as_ref().map(|Renamed { source, destination }| Transform {
            source: source.clone(),
            destination: destination.clone(),
        }),
    }
}
