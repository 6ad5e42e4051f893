//! The owner of a consumer, as a note in its metadata (ADR-33; nats-server 2.10 and later).
//!
//! Never here: what a note means ([`super::owner`]).

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::Error;
use super::nats::{Nats, optional};
use super::owner::Owner;

// The keys of a note, as `nats consumer info` shows them.
const INSTANCE: &str = "lifeline.dev/owner";
const HOST: &str = "lifeline.dev/owner-host";
const SINCE: &str = "lifeline.dev/owner-since";
/// When the owner said so last.
pub const RENEWED: &str = "lifeline.dev/owner-renewed";

/// What the server adds to the metadata that it gives out, and does not take back.
const OF_SERVER: &str = "_nats.";

/// The note of an owner.
pub(super) fn note(owner: &Owner) -> HashMap<String, String> {
    let time = |unix_nanos: u64| {
        let moment = jiff::Timestamp::from_nanosecond(i128::from(unix_nanos));
        moment.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
    };
    let Owner { instance, host, since_unix_nanos, renewed_unix_nanos } = owner;
    HashMap::from([
        (INSTANCE.to_owned(), instance.clone()),
        (HOST.to_owned(), host.clone()),
        (SINCE.to_owned(), time(*since_unix_nanos)),
        (RENEWED.to_owned(), time(*renewed_unix_nanos)),
    ])
}

/// What others wrote into metadata, with a note in place of the one that is there.
fn with_note(metadata: HashMap<String, String>, owner: &Owner) -> HashMap<String, String> {
    metadata.into_iter().filter(|(key, _)| !key.starts_with(OF_SERVER)).chain(note(owner)).collect()
}

/// The owner in metadata, or the one that let go of it; `None` where nobody is noted.
/// Times that cannot be read are 1970: then a renewal shows no change.
fn noted(metadata: &BTreeMap<String, String>) -> Option<Owner> {
    let time = |key| {
        let moment = metadata.get(key)?.parse::<jiff::Timestamp>().ok()?;
        u64::try_from(moment.as_nanosecond()).ok()
    };
    Some(Owner {
        instance: metadata.get(INSTANCE)?.clone(),
        host: metadata.get(HOST).cloned().unwrap_or_default(),
        since_unix_nanos: time(SINCE).unwrap_or(0),
        renewed_unix_nanos: time(RENEWED).unwrap_or(0),
    })
}

/// Who owns a consumer, by what the server says of it.
#[must_use]
pub fn owner_of(consumer: &Value) -> Option<Owner> {
    noted_with(consumer).filter(|owner| !owner.is_released())
}

fn noted_with(consumer: &Value) -> Option<Owner> {
    let metadata = serde_json::from_value(consumer["config"]["metadata"].clone());
    noted(&metadata.unwrap_or_default())
}

impl Nats {
    /// Who is noted as the owner of a consumer; `None` when nobody is, or there is no such consumer.
    pub(super) async fn owner(&self, stream: &str, durable: &str) -> Result<Option<Owner>, Error> {
        Ok(self.described(stream, durable).await?.as_ref().and_then(noted_with))
    }

    /// Notes an owner, where there is such a consumer. Gives the one that is noted afterwards.
    pub(super) async fn note_owner(&self, stream: &str, durable: &str, owner: &Owner) -> Result<Option<Owner>, Error> {
        let Some(info) = self.described(stream, durable).await? else { return Ok(None) };
        // As the server gave it: this library does not know all of its fields.
        let mut config = info["config"].clone();
        let metadata = serde_json::from_value(config["metadata"].clone()).unwrap_or_default();
        config["metadata"] = json!(with_note(metadata, owner));
        let operation = format!("CONSUMER.DURABLE.CREATE.{stream}.{durable}");
        let body = json!({"stream_name": stream, "config": config, "action": "update"});
        optional(self.request::<Value>(operation, &body).await)?;
        self.owner(stream, durable).await
    }

    async fn described(&self, stream: &str, durable: &str) -> Result<Option<Value>, Error> {
        optional(self.request(format!("CONSUMER.INFO.{stream}.{durable}"), &json!({})).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_among_what_others_wrote() {
        let owner = Owner {
            instance: "4f".to_owned(),
            host: "lifeline-0".to_owned(),
            since_unix_nanos: 1_780_000_000_123_456_789,
            renewed_unix_nanos: 1_780_000_010_000_000_000,
        };
        let others = [("team", "x"), ("_nats.ver", "2.15.1"), (INSTANCE, "before")];
        let others = others.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let metadata = with_note(others, &owner);
        let read = owner_of(&json!({"config": {"metadata": metadata}}));
        assert_eq!(read.as_ref(), Some(&owner));
        assert_eq!((metadata.len(), metadata.get("team").map(String::as_str)), (5, Some("x")), "{metadata:?}");
        assert_eq!(owner_of(&json!({"config": {"metadata": {"team": "x"}}})), None);
        let released = with_note(metadata, &Owner { instance: String::new(), ..owner });
        let released = json!({"config": {"metadata": released}});
        assert_eq!(owner_of(&released), None);
        assert!(noted_with(&released).is_some_and(|owner| owner.is_released()));
        assert_eq!(owner_of(&json!({"config": {}})), None);
    }
}
