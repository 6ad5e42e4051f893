//! The command line: what may be typed, and that a stopped engine's folder answers as a running engine does.

use std::path::Path;
use std::sync::Arc;

use lifeline_engine::clock::SystemClock;
use lifeline_engine::queries::Queries;
use lifeline_engine::status::Status;
use lifeline_engine::view::View;
use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::history::Entry;
use lifeline_projections::reads::{LifecycleRow, List, OwnedObjectRow, ResourceRow, RuleRow};
use lifeline_store::{Log, Options, OsDisk, Reader};

use super::*;
use crate::api::ApiState;
use crate::api::one::One;
use crate::api::tests::{START_UNIX_NANOS, story};
use crate::api::verify::Verified;
use crate::care;
use crate::client::{Client, Error, Listed, Query};
use crate::data;
use crate::settings::Config;

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn what_is_typed_is_understood_or_refused() {
    let check = |typed: &str, understood: bool| {
        let parsed = Cli::try_parse_from(typed.split_whitespace());
        let meant = parsed.is_ok_and(|cli| match cli.command {
            // What a setting means is decided behind the command line, with the file and the environment.
            Command::Run(args) => Config::from_settings(args.settings).is_ok(),
            _ => true,
        });
        assert_eq!(meant, understood, "{typed}");
    };
    check("lifeline run --rules a --rules b,c --subjects x,y --cluster-label env=prod --cluster-label team=", true);
    check("lifeline run --cluster kube --kubeconfig k --listen 0.0.0.0:80 --config c.toml", true);
    check("lifeline run --cluster moon", false);
    check("lifeline run --listen 7717", false);
    check("lifeline run --cluster-label prod", false);
    check("lifeline demo --kube --fast", true);
    check("lifeline get lifecycles --phase failing -o wide --at-least 5", true);
    check("lifeline get events --phase failing", false);
    check("lifeline get events --source a --subject b --type c --since 10m --limit 5", true);
    check("lifeline get events --rejected --since 41 -o json", true);
    check("lifeline get events --rejected=false --watch --source a", true);
    check("lifeline get events --rejected=perhaps", false);
    check("lifeline get events --since noon", false);
    check("lifeline get events --before 41", true);
    check("lifeline get events --before 41 --after 5", false);
    check("lifeline get events --before 41 --watch", false);
    check("lifeline get event 41 -o wide", true);
    check("lifeline get event 41 --data d", true);
    check("lifeline redrive 41 57 --reason mended", true);
    check("lifeline redrive --rejected --from 10m --reason mended -o json", true);
    check("lifeline redrive --rejected --dry-run", true);
    check("lifeline redrive --rejected", false);
    check("lifeline redrive --reason mended", false);
    check("lifeline redrive 41 --rejected --reason mended", false);
    check("lifeline redrive 41 --from 5 --reason mended", false);
    check("lifeline get event", false);
    check("lifeline get event now", false);
    check("lifeline get lifecycles --gone=false --kind ns", true);
    check("lifeline get resources --gone --watch", true);
    check("lifeline get objects --kind pods --watch", true);
    check("lifeline get rules --gone", false);
    check("lifeline diff 5 --kind ns", false);
    check("lifeline get pods", false);
    check("lifeline get objects --limit 0", false);
    check("lifeline history auth.example.com mgianluc --before 5", true);
    check("lifeline history auth.example.com", true);
    check("lifeline history", false);
    check("lifeline show addons --namespace default --cluster x --profile EventTrigger/y --resources", true);
    check("lifeline show stuck --longer-than 5 -o json", true);
    check("lifeline get lifecycles --watch --phase failing -o json", true);
    check("lifeline get resources -w --color never", true);
    check("lifeline get lifecycles --watch --data d", false);
    check("lifeline get lifecycles --watch --as-of 5", false);
    check("lifeline get lifecycles --watch --limit 5", false);
    check("lifeline get objects --watch --trigger x", true);
    check("lifeline get objects --watch --age-max 5m", false);
    check("lifeline get rules -w -o yaml", true);
    check("lifeline get rules --watch --as-of 5", false);
    check("lifeline get events --watch --limit 10", true);
    check("lifeline get events --watch --after 41", true);
    check("lifeline get events --watch --data d", false);
    check("lifeline get lifecycles --phase READY", true);
    check("lifeline get lifecycles --phase sleepy", false);
    check("lifeline get lifecycles --as-of 2020-01-01T00:00:00Z", true);
    check("lifeline get lifecycles --as-of 9999-01-01T00:00:00Z", false);
    check("lifeline get lifecycles --as-of noon", false);
    check("lifeline get lifecycles --as-of 10m", true);
    check("lifeline get lifecycles --age-min 10m --age-max 7200", true);
    check("lifeline get lifecycles --age-min old", false);
    check("lifeline get lifecycles --age-min 10m --watch", false);
    check("lifeline diff 5", true);
    check("lifeline diff 10m 57 --trigger x -o yaml", true);
    check("lifeline diff", false);
    check("lifeline why object Namespace default/x --group apps -o json", true);
    check("lifeline why object Namespace", false);
    check("lifeline why event 44", true);
    check("lifeline why event now", false);
    check("lifeline --color always status", true);
    check("lifeline status --color pink", false);
    check("lifeline bench intake", true);
    check("lifeline bench log --full --rounds 3 --data /tmp", true);
    check("lifeline verify --data d -o json", true);
    check("lifeline verify", true);
    check("lifeline verify --server http://h:1 --token-file f -o yaml", true);
    check("lifeline verify --as-of 5", false);
    check("lifeline log info --data d", true);
    check("lifeline log repair --from-stream --data d --nats nats://n:4222 --subjects a,b", true);
    check("lifeline log repair --data d", false);
    check("lifeline log", false);
    check("lifeline log level debug", true);
    check("lifeline plan -f rules other.yaml --merge --looks 0 --limit 5 -o json", true);
    check("lifeline plan -f rules --data d --detailed-exitcode", true);
    check("lifeline plan", false);
    check("lifeline plan -f rules --looks many", false);
    check("lifeline replay --trigger t --from 2h --dry-run", true);
    check("lifeline replay", false);
    check("lifeline replay --trigger t --data d", false);
    check("lifeline config check lifeline.toml", true);
    check("lifeline config show --nats nats://n -o toml", true);
    check("lifeline config show -o yaml", false);
    check("lifeline config example", true);
    check("lifeline config", false);
    check("lifeline doctor --nats nats://n --cluster kube --data d --rules r -o json", true);
    check("lifeline doctor -o toml", false);
    check("lifeline run --scrub-rate 0", true);
    check("lifeline run --scrub-rate fast", false);
    check("lifeline completions zsh", true);
    check("lifeline", false);
}

#[test]
fn every_setting_of_run_has_an_environment_variable_of_its_name() {
    let mut command = Cli::command();
    let run = command.find_subcommand_mut("run").expect("run");
    // To take consumers over is an order for one start, and would be a fight as a setting.
    let others = ["help", "version", "take_over"];
    for setting in run.get_arguments().filter(|setting| !others.contains(&setting.get_id().as_str())) {
        let name = setting.get_id().as_str().to_uppercase();
        let variable = setting.get_env().map(|variable| variable.to_string_lossy().into_owned());
        assert_eq!(variable, Some(format!("LIFELINE_{name}")));
    }
}

#[test]
fn both_definitions_come_as_one_stream_of_documents() {
    let text = crds();
    let kinds = ["eventsources.lib.projectsveltos.io", "eventtriggers.lib.projectsveltos.io"];
    let documents: Vec<&str> = text.split("---\n").collect();
    assert_eq!(documents.len(), kinds.len());
    for (document, name) in documents.iter().zip(kinds) {
        assert!(document.contains(&format!("name: {name}\n")), "{name}");
    }
}

/// A data folder that holds the story, as an engine that was killed left it.
fn stopped(data: &Path) {
    let mut log = open(data);
    for (fact, second) in story().iter().zip(0..) {
        let mut bytes = Vec::new();
        fact.encode(&mut bytes);
        log.append(START_UNIX_NANOS + second * 1_000_000_000, &bytes).expect("room");
    }
    log.sync().expect("a disk");
}

fn open(data: &Path) -> Log {
    let options = Options { low_space_bytes: 0, ..Options::default() };
    Log::open(OsDisk::open(&data::log(data)).expect("a folder"), options).expect("a log").0
}

/// Serves the story on a port of its own, in a thread that ends with the test process.
fn running(data: &Path) -> String {
    let disk = OsDisk::open_read_only(&data::log(data)).expect("a folder");
    let (log, _) = Reader::open(disk, &Options::default()).expect("a log");
    let projection = as_of::projection(&log, Moment::Offset(log.end())).expect("a whole log");
    let status = crate::client::stopped::status(&projection, &log);
    let router = crate::api::router(ApiState {
        queries: Queries::new(View::new(projection, log), Arc::new(SystemClock)),
        status: Arc::new(move || status.clone()),
        stop: tokio::sync::watch::channel(false).1,
    });
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("the test waits");
            axum::serve(listener, router).await.expect("a listener");
        });
    });
    format!("http://{}", address.recv().expect("an address"))
}

#[test]
fn a_folder_answers_as_a_running_engine_does() {
    let data = tempfile::tempdir().expect("a folder");
    stopped(data.path());
    let folder = Client::open(Some(data.path()), "").expect("a folder");
    let server = Client::open(None, &running(data.path())).expect("an address");
    assert!(server.is_running() && !folder.is_running());

    let all = Query::default();
    let check_list = |path: &str, rows: usize| {
        let of = |client: &Client| -> Listed<serde_json::Value> { client.all_pages(path, &all, None).expect(path) };
        let (one, other) = (of(&folder), of(&server));
        assert_eq!((&one.list, &one.time), (&other.list, &other.time), "{path}");
        assert_eq!((one.list.items.len(), one.list.offset), (rows, 6), "{path}");
        assert_eq!(one.time.as_deref(), Some("2026-11-22T14:00:05.000Z"), "{path}");
        assert_eq!(of(&folder).list.next, None);
    };
    check_list("/v1/resources", 2);
    check_list("/v1/lifecycles", 2);
    check_list("/v1/objects", 1);
    check_list("/v1/rules", 1);
    let limited: Listed<LifecycleRow> = server.all_pages("/v1/lifecycles", &all, Some(1)).expect("a list");
    assert_eq!((limited.list.items.len(), limited.list.next.is_some()), (1, true));

    let status: Status = folder.get("/v1/status", &all).expect("a status");
    assert_eq!(status, server.get("/v1/status", &all).expect("a status"));
    assert_eq!((status.recorded, status.folded, status.reconciled, status.open), (6, 6, 4, 1));

    let mut wrong = Query::default();
    wrong.add("phase", "sleepy");
    for client in [&folder, &server] {
        let refused = client.get::<List<LifecycleRow>>("/v1/lifecycles", &wrong).expect_err("no such phase");
        assert_eq!(
            refused.to_string(),
            "phase `sleepy` does not exist\nhint: one of Failing, Pending, Deleting, Ready, Left, Gone"
        );
    }
}

#[test]
fn a_running_engine_and_a_stopped_one_with_the_same_log_have_the_same_digest() {
    let data = tempfile::tempdir().expect("a folder");
    stopped(data.path());
    let server = Client::open(None, &running(data.path())).expect("an address");
    let live: One<Verified> = server.get("/v1/verify", &Query::default()).expect("an answer");
    let report = care::verify::verify(data.path(), &mut |_| {}).expect("a log");
    assert!(live.item.sound && report.sound);
    assert_eq!(live.offset, report.end);
    assert_eq!(report.state, care::verify::State::NoCheckpoint { digest: live.item.digest });
}

#[test]
fn a_stream_whose_last_record_is_damaged_is_said_not_to_be_read() {
    let data = tempfile::tempdir().expect("a folder");
    stopped(data.path());
    let read = || {
        let disk = OsDisk::open_read_only(&data::log(data.path())).expect("a folder");
        Reader::open(disk, &Options::default()).expect("a log").0
    };
    let log = read();
    let state = as_of::projection(&log, Moment::Offset(log.end())).expect("a whole log");
    assert_eq!(care::verify::unread(&state, &log), None);
    drop(log);
    let segment = data::log(data.path()).join("00000000000000000000.segment");
    // Behind the header.
    std::fs::File::options().write(true).open(segment).and_then(|file| file.set_len(4_096)).expect("a file");
    let said = care::verify::unread(&state, &read()).expect("it is damaged");
    assert!(said.starts_with("stream `") && said.contains("` is not read: ") && said.contains("damaged"), "{said}");
}

#[test]
fn the_story_is_shown_in_tables() {
    let data = tempfile::tempdir().expect("a folder");
    stopped(data.path());
    let client = Client::open(Some(data.path()), "").expect("a folder");
    let (all, now) = (Query::default(), "2026-11-22T14:12:06Z".parse().expect("a time"));

    let lifecycles: List<LifecycleRow> = client.get("/v1/lifecycles", &all).expect("a list");
    let expected = "\
SOURCE            SUBJECT   TRIGGER           CLUSTER    DESIRED  PHASE    OBJECTS  INC  LAST EVENT        AGE
auth.example.com  zoe       manage-namespace  mgmt/mgmt  present  Failing        0    1  login @ offset 4  12m
  zoe: namespace `zoe` is terminating (attempt 3)
  hint: it goes by itself
auth.example.com  mgianluc  manage-namespace  mgmt/mgmt  present  Ready          1    1  login @ offset 1  12m
";
    assert_eq!(rows::lifecycles(&lifecycles.items, now, false).render(None), expected);

    let resources: List<ResourceRow> = client.get("/v1/resources", &all).expect("a list");
    let expected = "\
SOURCE            SUBJECT   EVENTS  LIFECYCLES  OBJECTS  LAST EVENT        AGE
auth.example.com  mgianluc       1           1        1  login @ offset 1  12m
auth.example.com  zoe            1           1        0  login @ offset 4  12m
";
    assert_eq!(rows::resources(&resources.items, now, false).render(None), expected);

    let objects: List<OwnedObjectRow> = client.get("/v1/objects", &all).expect("a list");
    let expected = "\
CLUSTER    OBJECT              TRIGGER           SOURCE            SUBJECT   OFFSET  AGE  UID
mgmt/mgmt  Namespace/mgianluc  manage-namespace  auth.example.com  mgianluc       1  12m  8f3c0f1e
";
    assert_eq!(rows::objects(&objects.items, now, true).render(None), expected);

    let rules: List<RuleRow> = client.get("/v1/rules", &all).expect("a list");
    let expected = "\
RULE                           SINCE OFFSET  DIGEST
EventTrigger/manage-namespace             0  0000000000000007
";
    assert_eq!(rows::rules(&rules.items).render(None), expected);

    let mut of_zoe = Query::default();
    of_zoe.add("source", "auth.example.com");
    of_zoe.add("subject", "zoe");
    let history: List<Entry> = client.get("/v1/history", &of_zoe).expect("a history");
    let expected = "\
OFFSET  TIME                      INC  WHAT HAPPENED
     4  2026-11-22 14:00:04.000Z    1  auth.example.com.login: manage-namespace decided Create
     5  2026-11-22 14:00:05.000Z    1  manage-namespace: attempt 3 failed: namespace `zoe` is terminating
  hint: it goes by itself
";
    assert_eq!(rows::history(&history.items, false).render(None), expected);

    let events: List<Entry> = client.get("/v1/events", &all).expect("records");
    let shown = rows::records(&events.items, true).render(None);
    let first = "     0  2026-11-22 14:00:00.000Z  -                 -         -                 EventTrigger/manage-namespace changed";
    assert!(shown.lines().any(|line| line.trim_end() == first), "{shown}");
    assert!(shown.contains("user-operation, stream USERS sequence 1, id 10001\n"), "{shown}");
}

#[test]
fn a_folder_that_cannot_answer_says_what_to_do() {
    let data = tempfile::tempdir().expect("a folder");
    let refused = || Client::open(Some(data.path()), "").err().expect("no answer");
    assert!(matches!(refused(), Error::NoLog { .. }));
    let log = open(data.path());
    let text = refused().to_string();
    let expected = "is in use by a running engine\nhint: ask that engine with `--server`, or stop it first";
    assert!(text.ends_with(expected), "{text}");
    drop(log);
    assert!(Client::open(Some(data.path()), "").is_ok(), "an empty log is a log");
}

#[test]
fn an_engine_that_is_not_there_is_named() {
    // Port 1 belongs to nobody.
    let client = Client::open(None, "http://127.0.0.1:1").expect("an address");
    let error = client.get::<Status>("/v1/status", &Query::default()).expect_err("nobody");
    assert!(error.to_string().starts_with("no engine answers at `127.0.0.1:1`\nhint: start one with `lifeline run`"));
}

#[test]
fn completions_know_every_command_and_what_may_follow() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let script = completions(shell);
        for command in Cli::command().get_subcommands() {
            assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
        for word in ["lifecycles", "conflicts", "--as-of", "failing", "yaml", "--color"] {
            assert!(script.contains(word.trim_start_matches("--")), "{shell}: {word}");
        }
    }
}

/// Everything that the asking commands print of the story, in every format. What scripts read does not change by accident.
#[test]
fn answers_are_printed_as_the_golden_file_says() {
    let data = tempfile::tempdir().expect("a folder");
    stopped(data.path());
    let client = Client::open(Some(data.path()), "").expect("a folder");
    let now = "2026-11-22T14:12:06Z".parse().expect("a time");
    let mut told = String::new();
    fn add<T: serde::Serialize + serde::de::DeserializeOwned>(
        told: &mut String,
        client: &Client,
        path: &str,
        pairs: &[(&str, &str)],
        table: &dyn Fn(&[T], bool) -> crate::terminal::table::Table,
    ) {
        let mut query = Query::default();
        for (name, value) in pairs {
            query.add(name, value);
        }
        let list: List<T> = client.get(path, &query).expect(path);
        for width in [60, 80, 120] {
            told.push_str(&format!("== {path} in {width} cells\n{}", table(&list.items, false).render(Some(width))));
        }
        told.push_str(&format!("== {path} -o wide\n{}", table(&list.items, true).render(None)));
        for (name, format) in [("json", output::Format::Json), ("yaml", output::Format::Yaml)] {
            let text = output::encoded(&list, format).expect("text").expect("not a table");
            told.push_str(&format!("== {path} -o {name}\n{text}"));
        }
    }
    add(&mut told, &client, "/v1/resources", &[], &|list: &[ResourceRow], wide| rows::resources(list, now, wide));
    add(&mut told, &client, "/v1/lifecycles", &[], &|list: &[LifecycleRow], wide| rows::lifecycles(list, now, wide));
    add(&mut told, &client, "/v1/lifecycles", &[("limit", "1")], &|list: &[LifecycleRow], wide| {
        rows::lifecycles(list, now, wide)
    });
    add(&mut told, &client, "/v1/objects", &[], &|list: &[OwnedObjectRow], wide| rows::objects(list, now, wide));
    add(&mut told, &client, "/v1/rules", &[], &|list: &[RuleRow], _| rows::rules(list));
    add(&mut told, &client, "/v1/events", &[("limit", "3")], &|list: &[Entry], wide| rows::records(list, wide));
    let of_zoe = [("source", "auth.example.com"), ("subject", "zoe")];
    add(&mut told, &client, "/v1/history", &of_zoe, &|list: &[Entry], wide| rows::history(list, wide));

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/golden.txt");
    if std::env::var_os("LIFELINE_WRITE_GENERATED").is_some() {
        std::fs::write(path, &told).expect("a file");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        told == golden,
        "ops/src/cli/golden.txt is not what is printed\nhint: run this test once with LIFELINE_WRITE_GENERATED=1, and look at the difference"
    );
}

#[test]
fn help_fits_the_terminals_that_people_have() {
    fn check(command: &mut clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let help = command.clone().term_width(80).render_help().to_string();
        for line in help.lines() {
            assert!(unicode_width::UnicodeWidthStr::width(line) <= 80, "{path}: {line}");
        }
        assert!(command.get_about().is_some(), "{path} says what it is");
        for command in command.get_subcommands_mut() {
            check(command, &path);
        }
    }
    let mut command = Cli::command();
    command.build();
    check(&mut command, "");
}
