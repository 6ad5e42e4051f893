//! NATS: whether it is there and lets us in, which streams hold what is wanted, and what they promise.
//!
//! Start at [`examine`]. Requests of the JetStream API are sent as they are defined, so that only those that read are sent.

use std::time::Duration;

use async_nats::Client;
use jiff::Timestamp;
use lifeline_engine::error_text::one_line;
use lifeline_engine::intake::JetStream;
use lifeline_engine::intake::assign;
use lifeline_engine::intake::connection::Server;
use lifeline_engine::intake::nats::Nats;
use lifeline_engine::intake::reserved;
use lifeline_engine::intake::way::Use;
use serde_json::{Value, json};

use super::{Finding, certificates, clock, folder, streams};
use crate::reach::ConnectionSource;
use crate::settings::Config;

/// The oldest release that the tests of JetStream know.
const VERSION_MIN: (u64, u64) = (2, 10);

/// How long a server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Looks at every server that the settings name.
pub(super) async fn examine(config: &Config, kube: Option<kube::Client>) -> Vec<Finding> {
    let connection = match ConnectionSource::of(config, kube).load().await {
        Ok(connection) => connection,
        Err(error) => return vec![Finding::of_error("nats settings", &error)],
    };
    let mut found: Vec<Finding> = Vec::new();
    for warning in &connection.warnings {
        found.push(Finding::warning("nats settings", warning, "leave it out, or correct its name"));
    }
    let is_running = folder::is_in_use(&config.data);
    for server in &connection.servers {
        for (what, pem) in server.certificates() {
            found.extend(certificates::of_pem(&format!("nats {what}"), pem.as_bytes()));
        }
        if let Some(end) = server.credentials_expire_unix_seconds().and_then(|end| Timestamp::from_second(end).ok()) {
            found.push(certificates::expiry("nats credentials", end, Timestamp::now()));
        }
        match server.connect().await {
            Ok((client, link)) => {
                found.push(version(&server.url, &client));
                let nats = Nats::new(client.clone(), server.url.clone(), link, server.domain.as_deref());
                found.extend(read(config, server, &nats, &client, is_running).await);
            }
            Err(error) => found.push(Finding::of_error("nats server", &error)),
        }
    }
    found
}

fn version(url: &str, client: &Client) -> Finding {
    let info = client.server_info();
    let found = format!("{url} is nats-server {}", info.version);
    let mut numbers = info.version.split('.').map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        Finding::warning(
            "nats server",
            found,
            format!("upgrade it to {major}.{minor} or later; older ones are not tested"),
        )
    } else {
        Finding::ok("nats server", found)
    }
}

async fn read(config: &Config, server: &Server, nats: &Nats, client: &Client, is_running: bool) -> Vec<Finding> {
    let held = match tokio::time::timeout(ANSWER_WITHIN, nats.streams()).await {
        Ok(Ok(held)) => held,
        Ok(Err(error)) => {
            let why = one_line(&error);
            return vec![if config.jetstream == Use::Always {
                Finding::of_error("jetstream", &error)
            } else {
                let remedy = "enable JetStream (`nats-server -js`); without it events are lost while Lifeline is away";
                Finding::warning("jetstream", why, remedy)
            }];
        }
        Err(_) => {
            let remedy = "let the user publish to `$JS.API.>` and subscribe to `_INBOX.>`";
            return vec![Finding::failed("jetstream", "does not answer", remedy)];
        }
    };
    let assignment = assign::assign(&server.wanted, &held);
    let mut found = Vec::new();
    for missing in &assignment.missing_streams {
        let remedy = "make it, or correct the name in the connection settings";
        found.push(Finding::failed(format!("stream {}", missing.name), "does not exist", remedy));
    }
    if assignment.readings.is_empty() && assignment.missing_streams.is_empty() {
        let said = if server.wanted.subjects.is_empty() {
            "there are none"
        } else {
            "none holds the subjects; a start makes one"
        };
        let unheld = &assignment.unheld_subjects;
        let says = unheld.is_empty() || unheld.iter().any(|subject| reserved::no_stream_for(subject).is_none());
        found.extend(says.then(|| Finding::ok("streams", said)));
    }
    for why in assignment.unheld_subjects.iter().filter_map(|subject| reserved::no_stream_for(subject)) {
        found.push(if config.jetstream == Use::Always {
            Finding::failed("streams", why, reserved::REMEDY)
        } else {
            let why = format!("{why}; a start subscribes plainly, and what is published while it is away is lost");
            Finding::warning("streams", why, reserved::REMEDY)
        });
    }
    let api = server.domain.as_ref().map_or("$JS.API".to_owned(), |domain| format!("$JS.{domain}.API"));
    let instance = crate::data::known_instance(&config.data);
    let mut clock_is_read = false;
    for reading in &assignment.readings {
        let stream = &reading.stream;
        let asked = clock::now_millis();
        let info = match ask(client, format!("{api}.STREAM.INFO.{stream}"), json!({})).await {
            Ok(info) => info,
            Err(why) => {
                let remedy = format!("let the user publish to `{api}.STREAM.INFO.*`");
                found.push(Finding::failed(format!("stream {stream}"), why, remedy));
                continue;
            }
        };
        let time = info["ts"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        if let Some(time) = time.filter(|_| !clock_is_read) {
            clock_is_read = true;
            found.push(clock::judge("clock of nats", time.as_millisecond(), asked, clock::now_millis(), 1));
        }
        found.extend(streams::of_stream(stream, &info));
        match ask(client, format!("{api}.CONSUMER.LIST.{stream}"), json!({"offset": 0})).await {
            Ok(list) => {
                let consumers = list["consumers"].as_array().cloned().unwrap_or_default();
                let expected = streams::Expected {
                    consumer: &config.consumer,
                    filters: &reading.filters,
                    is_running,
                    instance: instance.as_deref(),
                    has_log: folder::has_log(&config.data),
                };
                found.extend(streams::of_consumer(stream, &info, &consumers, &expected));
            }
            Err(why) => {
                let remedy = format!("let the user publish to `{api}.CONSUMER.>`");
                found.push(Finding::skipped(format!("consumer {} of {stream}", config.consumer), why, remedy));
            }
        }
    }
    if !clock_is_read {
        found.push(Finding::skipped(
            "clock of nats",
            "no stream whose answer has a time",
            "look again when there is a stream",
        ));
    }
    found.push(sync(client).await);
    found
}

/// How often the server syncs what it keeps, where we may see it.
async fn sync(client: &Client) -> Finding {
    let check = "nats sync";
    let answer = ask(client, "$SYS.REQ.SERVER.PING.JSZ".to_owned(), json!({"config": true})).await;
    let Ok(answer) = answer else {
        let remedy =
            "look for `sync_interval` in its configuration: `always` survives power loss, the default is two minutes";
        return Finding::skipped(check, "only a user of the system account sees it", remedy);
    };
    let config = &answer["data"]["config"];
    if config["sync_always"] == true {
        return Finding::ok(check, "each message is synced before it is acknowledged");
    }
    let seconds = config["sync_interval"].as_u64().unwrap_or(0) / 1_000_000_000;
    let remedy = "set `jetstream { sync_interval: always }`, or rely on replicas in different places";
    Finding::warning(check, format!("the disk is synced every {seconds} s"), remedy)
}

/// One request that reads. A refusal, in whatever form, is a text.
async fn ask(client: &Client, subject: String, body: Value) -> Result<Value, String> {
    let request = client.request(subject, body.to_string().into());
    let message = match tokio::time::timeout(ANSWER_WITHIN, request).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) => return Err(one_line(&error)),
        Err(_) => return Err("no answer; the right to ask may be missing".to_owned()),
    };
    let answer: Value = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
    match answer["error"]["description"].as_str() {
        Some(refusal) => Err(refusal.to_owned()),
        None => Ok(answer),
    }
}
