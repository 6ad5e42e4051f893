//! Whether a consumer is as its reader wants it. Pure; for [`super::nats`].

use async_nats::jetstream::consumer;

use super::Error;
use super::jetstream::Backlog;

/// Whether the consumer that is there is as wanted, apart from where it starts.
pub(super) fn agrees(current: &consumer::Config, wanted: &consumer::pull::Config) -> bool {
    current.deliver_subject.is_none()
        && current.ack_policy == wanted.ack_policy
        && current.ack_wait == wanted.ack_wait
        && current.max_ack_pending == wanted.max_ack_pending
        && current.max_deliver == wanted.max_deliver
        && filters(current) == wanted_filters(wanted)
        && delivers_whole_batches(current)
}

/// A consumer that somebody paused delivers nothing, and says nothing. It is left so, for somebody meant it.
pub(super) fn delivers(info: &consumer::Info) -> Result<(), Error> {
    if !info.paused {
        return Ok(());
    }
    let (stream, consumer) = (info.stream_name.clone(), info.name.clone());
    Err(Error::Paused { stream, consumer, seconds: info.pause_remaining.unwrap_or_default().as_secs() })
}

/// How far behind a consumer is.
pub(super) fn backlog_of(info: &consumer::Info) -> Backlog {
    Backlog {
        pending: info.num_pending,
        unacknowledged: info.num_ack_pending as u64,
        unacknowledged_max: u64::try_from(info.config.max_ack_pending).unwrap_or(u64::MAX),
        delivered_sequence: info.delivered.stream_sequence,
    }
}

/// Whether a consumer delivers whole messages, and as many as a pull asks for.
pub(super) fn delivers_whole_batches(config: &consumer::Config) -> bool {
    !config.headers_only
        && config.max_batch <= 0
        && config.max_bytes <= 0
        && config.max_expires.is_zero()
        && config.rate_limit == 0
        && config.priority_groups.is_empty()
}

/// The subjects that a consumer asks for, sorted; none for all.
pub(super) fn filters(config: &consumer::Config) -> Vec<&str> {
    sorted_filters(&config.filter_subject, &config.filter_subjects)
}

pub(super) fn wanted_filters(config: &consumer::pull::Config) -> Vec<&str> {
    sorted_filters(&config.filter_subject, &config.filter_subjects)
}

fn sorted_filters<'c>(one: &'c str, many: &'c [String]) -> Vec<&'c str> {
    let mut all: Vec<&str> = many.iter().map(String::as_str).collect();
    all.extend((!one.is_empty()).then_some(one));
    all.sort_unstable();
    all
}
