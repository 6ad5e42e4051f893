//! What a stream and its consumer promise, as JetStream describes them.
//!
//! Start at [`of_stream`] and [`of_consumer`]: functions of the answers of the server, in its own JSON.

use lifeline_engine::intake::metadata::{RENEWED, owner_of};
use serde_json::Value;

use super::Finding;
use crate::terminal::count;

/// A stream that forgets sooner than this loses events of a weekend's outage.
const AGE_MIN_NANOS: u64 = 3 * 24 * 3_600 * 1_000_000_000;

/// The stream, by its configuration and state.
pub(super) fn of_stream(name: &str, info: &Value) -> Vec<Finding> {
    let (config, state) = (&info["config"], &info["state"]);
    let mut found = Vec::new();
    let check = format!("stream {name}: retention");
    let age = config["max_age"].as_u64().unwrap_or(0);
    let near = |limit: &str, used: &str| {
        let (limit, used) = (config[limit].as_i64().unwrap_or(-1), state[used].as_i64().unwrap_or(0));
        (limit > 0).then_some((limit, used))
    };
    let messages = near("max_msgs", "messages").map(|(limit, used)| format!("{used} of at most {limit} messages"));
    let bytes = near("max_bytes", "bytes").map(|(limit, used)| format!("{used} of at most {limit} bytes"));
    let bounds: Vec<String> = messages.into_iter().chain(bytes).collect();
    let keeps = match age {
        0 => "keeps messages without an age limit".to_owned(),
        age => format!("keeps messages for {} h", age / 3_600_000_000_000),
    };
    let retention = config["retention"].as_str().unwrap_or("limits");
    let said = format!("{retention}, {keeps}{}", bounds.iter().map(|bound| format!(", {bound}")).collect::<String>());
    let remedy = "an outage longer than that loses events: raise `max_age`, `max_msgs` and `max_bytes` of the stream";
    found.push(if retention == "limits" && ((age > 0 && age < AGE_MIN_NANOS) || !bounds.is_empty()) {
        Finding::warning(check, said, remedy)
    } else {
        Finding::ok(check, said)
    });
    let check = format!("stream {name}: durability");
    let replicas = config["num_replicas"].as_u64().unwrap_or(1);
    found.push(if config["storage"] == "memory" {
        Finding::warning(
            check,
            "is kept in memory: a restart of the server empties it",
            "make a stream with `storage: file`",
        )
    } else if replicas < 2 {
        let remedy = "give it 3 replicas in a NATS cluster, or `sync_interval: always` to the server";
        Finding::warning(check, "has a single replica: power loss can take messages it acknowledged", remedy)
    } else {
        Finding::ok(check, format!("{replicas} replicas on disk"))
    });
    let check = format!("stream {name}: deletion");
    let may = |name: &str| config[name].as_bool() != Some(true);
    found.push(match (may("deny_delete"), may("deny_purge")) {
        (false, false) => Finding::ok(check, "nobody may delete or purge messages"),
        _ => Finding::warning(
            check,
            "clients may delete or purge messages before they are recorded",
            "set `deny_delete` and `deny_purge` of the stream",
        ),
    });
    found
}

/// What an engine would expect of a consumer.
pub(super) struct Expected<'a> {
    /// Its name.
    pub consumer: &'a str,
    /// The subjects it is to deliver; empty for all.
    pub filters: &'a [String],
    /// Whether an engine has the data folder now.
    pub is_running: bool,
    /// The name that the data folder keeps; `None` before its first engine.
    pub instance: Option<&'a str>,
    /// Whether there is a log in the data folder.
    pub has_log: bool,
}

/// The durable consumer, in a list of all consumers of the stream.
pub(super) fn of_consumer(stream: &str, info: &Value, consumers: &[Value], expected: &Expected<'_>) -> Vec<Finding> {
    let name = expected.consumer;
    let others: Vec<&str> =
        consumers.iter().filter_map(|one| one["name"].as_str()).filter(|other| *other != name).collect();
    let check = format!("consumer {name} of {stream}");
    let mut found = Vec::new();
    match consumers.iter().find(|consumer| consumer["name"] == name) {
        None => found.push(Finding::ok(&check, "is not there yet; a start makes it")),
        Some(consumer) => {
            found.push(state(&check, consumer, expected));
            found.push(recorded(&check, info, consumer));
        }
    }
    let check = format!("stream {stream}: other readers");
    let is_shared_queue = info["config"]["retention"] == "workqueue" && !others.is_empty();
    found.push(if is_shared_queue {
        let said = format!("a work queue, and {} take messages from it too", others.join(", "));
        Finding::warning(check, said, "give Lifeline subjects of its own, or a stream with `retention: limits`")
    } else if others.is_empty() {
        Finding::ok(check, "none")
    } else {
        Finding::ok(check, format!("{}; each has its own position", others.join(", ")))
    });
    found
}

fn state(check: &str, consumer: &Value, expected: &Expected<'_>) -> Finding {
    if consumer["paused"].as_bool() == Some(true) {
        let remedy = format!(
            "`nats consumer resume` it, or wait until {}",
            consumer["config"]["pause_until"].as_str().unwrap_or("then")
        );
        return Finding::failed(check, "is paused: nothing is delivered", remedy);
    }
    let config = &consumer["config"];
    if config["deliver_subject"].as_str().is_some_and(|subject| !subject.is_empty()) {
        return Finding::failed(
            check,
            "is a push consumer: nobody can pull",
            "delete it, or name another one by `--consumer`",
        );
    }
    let many = config["filter_subjects"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut filters: Vec<&str> = many.chain(config["filter_subject"].as_str().filter(|one| !one.is_empty())).collect();
    let mut wanted: Vec<&str> = expected.filters.iter().map(String::as_str).collect();
    filters.sort_unstable();
    wanted.sort_unstable();
    if filters != wanted {
        let said = |filters: &[&str]| if filters.is_empty() { "everything".to_owned() } else { filters.join(", ") };
        let remedy =
            "the next start changes it back; name another consumer by `--consumer` where two settings share one";
        return Finding::warning(check, format!("delivers {}, wanted is {}", said(&filters), said(&wanted)), remedy);
    }
    if let Some(owner) = owner_of(consumer).filter(|owner| Some(&*owner.instance) != expected.instance) {
        let said = format!(
            "belongs to the engine `{}` on `{}`, which said so last at {}; the data folder is {}",
            owner.instance,
            owner.host,
            consumer["config"]["metadata"][RENEWED].as_str().unwrap_or("no time"),
            expected.instance.map_or("of no engine yet".to_owned(), |other| format!("that of the engine `{other}`"))
        );
        let remedy = "name the folder of that engine by `--data`, or stop it: a start waits until it is gone for 30 s, and does not \
                      with `--take-over`";
        return Finding::warning(check, said, remedy);
    }
    let read = consumer["ack_floor"]["stream_seq"].as_u64().unwrap_or(0);
    if read > 0 && !expected.has_log {
        let said = format!("an engine recorded up to sequence {read}, and the data folder has no log");
        let remedy = "name the folder of that engine by `--data`; where it is lost, a start reads again what the stream still holds";
        return Finding::warning(check, said, remedy);
    }
    let waiting = consumer["num_waiting"].as_u64().unwrap_or(0);
    if waiting > 0 && !expected.is_running {
        let remedy = "only one engine may read with this name: stop the other one, or say `--consumer NAME`";
        return Finding::warning(
            check,
            format!("{} open, and no engine has this data folder", count(waiting, "pull")),
            remedy,
        );
    }
    let pending = consumer["num_pending"].as_u64().unwrap_or(0);
    Finding::ok(
        check,
        format!("{} unread, {} delivered and not recorded", count(pending, "message"), consumer["num_ack_pending"]),
    )
}

/// Whether the stream still holds what is not recorded. Acknowledged is what is durable in the log.
fn recorded(check: &str, info: &Value, consumer: &Value) -> Finding {
    let check = format!("{check}: log");
    let next = consumer["ack_floor"]["stream_seq"].as_u64().unwrap_or(0) + 1;
    let first = info["state"]["first_seq"].as_u64().unwrap_or(0);
    if next > 1 && first > next {
        let remedy = "they are lost, and the log will say so; raise the limits of the stream for the next outage";
        Finding::warning(check, format!("{} gone before they were recorded", count(first - next, "message")), remedy)
    } else {
        Finding::ok(check, format!("recorded below sequence {next}, the stream holds from {first} on"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Verdict::{self, Failed, Ok, Warning};

    fn verdicts(found: &[Finding]) -> Vec<Verdict> {
        found.iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn streams_are_judged_by_what_they_promise() {
        let check = |config: Value, expected: [Verdict; 3]| {
            let found = of_stream("S", &json!({"config": config, "state": {"messages": 5}}));
            assert_eq!(verdicts(&found), expected, "{found:#?}");
        };
        let safe = json!({"retention": "limits", "storage": "file", "num_replicas": 3, "deny_delete": true, "deny_purge": true,
                          "max_msgs": -1, "max_bytes": -1});
        let with = |field: &str, value: Value| {
            let mut config = safe.clone();
            config[field] = value;
            config
        };
        check(safe.clone(), [Ok, Ok, Ok]);
        check(with("max_age", json!(3_600_000_000_000_u64)), [Warning, Ok, Ok]);
        check(with("max_msgs", json!(1000)), [Warning, Ok, Ok]);
        check(with("retention", json!("workqueue")), [Ok, Ok, Ok]);
        check(with("storage", json!("memory")), [Ok, Warning, Ok]);
        check(with("num_replicas", json!(1)), [Ok, Warning, Ok]);
        check(with("deny_purge", json!(false)), [Ok, Ok, Warning]);
    }

    #[test]
    fn consumers_are_judged_by_what_they_would_deliver() {
        let filters = ["a".to_owned(), "b".to_owned()];
        let check = |consumer: Value, is_running: bool, expected: &[Verdict]| {
            let info = json!({"config": {"retention": "limits"}, "state": {"first_seq": 10}});
            let expecting =
                Expected { consumer: "lifeline", filters: &filters, is_running, instance: Some("me"), has_log: true };
            let found = of_consumer("S", &info, &[json!({"name": "other"}), consumer], &expecting);
            assert_eq!(verdicts(&found), expected, "{found:#?}");
        };
        let consumer = |more: Value| {
            let mut consumer = json!({"name": "lifeline", "config": {"filter_subjects": ["b", "a"]}, "num_waiting": 0,
                                      "ack_floor": {"stream_seq": 9}});
            for (name, value) in more.as_object().unwrap() {
                consumer[name] = value.clone();
            }
            consumer
        };
        check(json!({"name": "third"}), false, &[Ok, Ok]);
        check(consumer(json!({})), false, &[Ok, Ok, Ok]);
        check(consumer(json!({"paused": true})), false, &[Failed, Ok, Ok]);
        check(consumer(json!({"config": {"filter_subject": "a"}})), false, &[Warning, Ok, Ok]);
        let owned =
            |by: &str| json!({"config": {"filter_subjects": ["b", "a"], "metadata": {"lifeline.dev/owner": by}}});
        check(consumer(owned("me")), false, &[Ok, Ok, Ok]);
        check(consumer(owned("you")), true, &[Warning, Ok, Ok]);
        check(consumer(json!({"num_waiting": 1})), false, &[Warning, Ok, Ok]);
        check(consumer(json!({"num_waiting": 1})), true, &[Ok, Ok, Ok]);
        check(consumer(json!({"ack_floor": {"stream_seq": 4}})), false, &[Ok, Warning, Ok]);
        let without_log =
            Expected { consumer: "lifeline", filters: &filters, is_running: false, instance: None, has_log: false };
        let look = |consumer: Value| state("c", &consumer, &without_log);
        let found = look(consumer(json!({})));
        assert_eq!(found.verdict, Warning, "it was read, and the folder is another one: {found:?}");
        assert!(found.found.contains("up to sequence 9, and the data folder has no log"), "{found:?}");
        assert_eq!(look(consumer(json!({"ack_floor": {"stream_seq": 0}}))).verdict, Ok, "a first start");
    }
}
