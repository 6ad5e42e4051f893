//! What settings mean, where they come from, and that every document of them is theirs.

use std::path::{Path, PathBuf};

use clap::{FromArgMatches, Parser};

use super::file::File;
use super::in_force::{InForce, Typed, load};
use super::*;

/// What is typed for a command that has the settings and nothing else.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    typed: Typed,
    #[command(flatten)]
    settings: Settings,
}

/// Loads what is typed over a file with this text.
fn loaded(typed: &str, text: &str) -> Result<(Config, Vec<InForce>), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lifeline.toml");
    std::fs::write(&path, text).unwrap();
    let line = Line::try_parse_from(std::iter::once("line").chain(typed.split_whitespace())).unwrap();
    load(line.settings, &line.typed, Some(&path))
}

#[test]
fn what_is_not_said_has_a_default() {
    let config = Config::from_settings(Settings::default()).unwrap();
    assert_eq!(config.nats.as_deref(), Some("nats://127.0.0.1:4222"));
    assert_eq!((config.consumer.as_str(), config.stream.as_str()), ("lifeline", "LIFELINE"));
    let kube = Settings { cluster: Some(ClusterKind::Kube), ..Settings::default() };
    assert_eq!(Config::from_settings(kube).unwrap().nats, None);
}

#[test]
fn a_flag_outweighs_the_file() {
    let file: Settings = toml::from_str("nats = 'nats://file'\nlisten = '127.0.0.1:1'").unwrap();
    let typed = Settings { nats: Some("nats://flag".into()), ..Settings::default() };
    let merged = typed.or(file);
    assert_eq!((merged.nats.as_deref(), merged.listen.as_deref()), (Some("nats://flag"), Some("127.0.0.1:1")));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let settings = Settings {
        listen: Some("here".into()),
        cluster_labels: vec!["env".into()],
        consumer: Some("a b".into()),
        allowed_hosts: vec!["engine.example.com".into(), "https://engine".into()],
        tls_cert: Some("cert.pem".into()),
        ..Settings::default()
    };
    let Err(Error::Values(mistakes)) = Config::from_settings(settings) else { panic!("five mistakes") };
    assert_eq!(mistakes.len(), 5, "{mistakes:?}");
    assert!(mistakes.iter().all(|mistake| mistake.hint.is_some()), "each has a remedy: {mistakes:?}");
    assert!(toml::from_str::<Settings>("natz = 'x'").is_err());
}

#[test]
fn the_file_names_hosts_and_tls_by_the_names_of_the_flags() {
    let text = "allowed_hosts = ['*.example.com']\ntls_cert = 'c.pem'\ntls_key = 'k.pem'";
    let config = Config::from_settings(toml::from_str(text).unwrap()).unwrap();
    assert_eq!(config.allowed_hosts, [Allowed::Below(".example.com".to_owned())]);
    assert_eq!(config.tls, Some(tls::Files { certificate: "c.pem".into(), key: "k.pem".into() }));
    let half = Settings { tls_key: Some("k.pem".into()), ..Settings::default() };
    assert!(Config::from_settings(half).is_err_and(|error| error.to_string().contains("--tls-cert")));
}

#[test]
fn without_jetstream_something_has_to_be_subscribed_to() {
    let check = |nats: Option<&str>, subjects: &[&str], cluster: ClusterKind, is_fine: bool| {
        let settings = Settings {
            jetstream: Some(JetStreamKind::Never),
            nats: nats.map(str::to_owned),
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            cluster: Some(cluster),
            ..Settings::default()
        };
        assert_eq!(Config::from_settings(settings).is_ok(), is_fine, "{nats:?} {subjects:?} {cluster:?}");
    };
    let (local, kube) = (ClusterKind::Local, ClusterKind::Kube);
    check(None, &[], local, false);
    check(Some("nats://n"), &[], kube, false);
    check(Some("nats://n"), &["s"], local, true);
    // The file, or the Secret, names them.
    check(Some("nats.json"), &[], local, true);
    check(None, &[], kube, true);
    assert_eq!(toml::from_str::<Settings>("jetstream = 'always'").unwrap().jetstream, Some(JetStreamKind::Always));
}

#[test]
fn nobody_is_let_in_from_outside_without_a_word() {
    let check =
        |listen: &str, kind: Option<AuthKind>, file: Option<&str>, cluster: ClusterKind, expected: Option<Auth>| {
            let settings = Settings {
                listen: Some(listen.to_owned()),
                auth: kind,
                auth_token_file: file.map(PathBuf::from),
                cluster: Some(cluster),
                ..Settings::default()
            };
            let auth = Config::from_settings(settings).ok().map(|config| config.auth);
            assert_eq!(auth, expected, "{listen} {kind:?} {file:?} {cluster:?}");
        };
    let (local, kube) = (ClusterKind::Local, ClusterKind::Kube);
    let token = || Some(Auth::Token("t".into()));
    check("127.0.0.1:1", None, None, local, Some(Auth::None));
    check("[::1]:1", None, None, kube, Some(Auth::None));
    check("0.0.0.0:1", None, None, local, None);
    check("0.0.0.0:1", None, None, kube, Some(Auth::Kubernetes));
    check("[::]:1", Some(AuthKind::None), None, local, Some(Auth::None));
    check("0.0.0.0:1", None, Some("t"), local, token());
    check("127.0.0.1:1", Some(AuthKind::Token), Some("t"), kube, token());
    check("127.0.0.1:1", Some(AuthKind::Token), None, local, None);
    check("127.0.0.1:1", Some(AuthKind::None), Some("t"), local, None);
    check("127.0.0.1:1", Some(AuthKind::Kubernetes), Some("t"), local, None);
    check("127.0.0.1:1", Some(AuthKind::Kubernetes), None, local, Some(Auth::Kubernetes));
}

#[test]
fn each_value_says_where_it_comes_from() {
    let (config, rows) = loaded(
        "--listen 127.0.0.1:1",
        "# settings\nlisten = '127.0.0.1:2'\n\nconsumer = 'c'\nnats = 'nats://me:secret@h'",
    )
    .unwrap();
    assert_eq!((config.listen.port(), config.consumer.as_str()), (1, "c"));
    let check = |key: &str, value: Option<&str>, from: &str| {
        let row = rows.iter().find(|row| row.key == key).expect(key);
        assert_eq!(row.value.as_ref().map(|value| value.as_str().unwrap().to_owned()).as_deref(), value, "{key}");
        assert!(row.from.ends_with(from), "{key}: {}", row.from);
    };
    check("listen", Some("127.0.0.1:1"), "flag --listen");
    check("consumer", Some("c"), "/lifeline.toml:4");
    check("nats", Some("nats://***@h"), "/lifeline.toml:5");
    check("stream", Some("LIFELINE"), "default");
    check("auth", Some("none"), "default");
    check("kubeconfig", None, "default");
    assert_eq!(rows.len(), example::keys().len());
}

#[test]
fn what_the_environment_says_is_told_from_what_is_typed() {
    // The matches of a variable, without setting one for the whole process.
    let command = <Settings as Args>::augment_args(clap::Command::new("line"));
    let matches = command.try_get_matches_from(["line", "--stream", "S"]).unwrap();
    let (settings, typed) = (Settings::from_arg_matches(&matches).unwrap(), Typed::from_arg_matches(&matches).unwrap());
    let (_, rows) = load(settings, &typed, None).unwrap();
    assert_eq!(rows.iter().find(|row| row.key == "stream").unwrap().from, "flag --stream");
}

#[test]
fn every_mistake_of_a_file_has_its_line_and_its_remedy() {
    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let file = File::parse(text, Path::new("lifeline.toml"));
        let error = loaded("", text).expect_err("a mistake");
        let Error::Values(mistakes) = error else { panic!("{error}") };
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}\n{:?}", file.mistakes);
        for (mistake, (line, complaint, hint)) in mistakes.iter().zip(expected) {
            let place = mistake.place.as_deref().unwrap_or_default();
            assert!(place.ends_with(&format!("/lifeline.toml:{line}")), "{mistake:?}");
            assert!(mistake.complaint.contains(complaint), "{mistake:?} lacks `{complaint}`");
            assert!(mistake.hint.as_deref().unwrap_or_default().contains(hint), "{mistake:?} lacks `{hint}`");
            assert!(!mistake.to_string().contains("secret"), "{mistake}");
        }
    }
    check(
        "natz = 'nats://u:secret@h'\nlisten = 7717\nbrake-percent = 5\nsubjects = 'a'\nservice = 'yes'\n\ncluster = 'moon'\n\
         brake_percent = 300\nnats = ['nats://u:secret@h']\nwhatever = 1\nconsumer = 'a b'\n",
        &[
            (1, "`natz` is no setting", "write `nats`"),
            (2, "`listen` is `7717`, expected a text", "listen = \"127.0.0.1:7717\""),
            (3, "`brake-percent` is no setting", "write `brake_percent`"),
            (4, "`subjects` is `a`, expected a list of texts", "subjects = ["),
            (5, "`service` is `yes`, expected true or false", "service = true"),
            (7, "`cluster` is `moon`, expected", "cluster = \"local\""),
            (8, "`brake_percent` is `300`, expected a whole number up to 255", "brake_percent = 10"),
            (9, "`nats` is a list, expected a text", "nats = "),
            (10, "`whatever` is no setting", "lifeline config example"),
            (11, "`consumer` is `a b`", "letters"),
        ],
    );
    check(
        "listen = '127.0.0.1:1\nservice = maybe\n",
        &[(1, "not TOML", "key = value"), (2, "not TOML", "key = value")],
    );
    check("data = 'a'\ndata = 'b'\n", &[(2, "not TOML: duplicate key", "key = value")]);
}

#[test]
fn every_setting_of_the_file_arrives() {
    let all: String = example::keys()
        .iter()
        .map(|key| example::line(key))
        .filter(|line| !line.starts_with("nats_nkey"))
        .fold(String::new(), |text, line| text + &line + "\n");
    let file = File::parse(&all, Path::new("all.toml"));
    assert_eq!(file.mistakes, []);
    let merged = example::table(&Settings::default().or(file.settings));
    for key in example::keys().iter().filter(|key| *key != "nats_nkey") {
        assert!(merged.contains_key(key), "`Settings::or` forgets `{key}`");
    }
}

#[test]
fn the_help_names_the_defaults_that_hold() {
    let defaults = example::table(&Settings::defaults());
    for argument in example::arguments() {
        let help = argument.get_help().expect("a doc").to_string();
        let said = help.rsplit_once("[default: ").map(|(_, said)| said.trim_end_matches(']').trim_start_matches("./"));
        let Some(value) = defaults.get(argument.get_id().as_str()) else { continue };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(said, Some(value.as_str()), "{}", argument.get_id());
    }
}

#[test]
fn the_committed_documents_are_the_generated_ones() {
    for (name, text) in [("lifeline.toml", example::example()), ("SETTINGS.md", example::page())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        if std::env::var_os("LIFELINE_WRITE_GENERATED").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == text,
            "docs/{name} is not what the code says\nhint: run this test once with LIFELINE_WRITE_GENERATED=1, and commit the file"
        );
    }
}

#[test]
fn what_a_connection_would_refuse_is_said_before_a_start() {
    let settings = Settings {
        nats: Some("http://me:secret@h".into()),
        data: Some(PathBuf::new()),
        subjects: vec!["a b".into(), String::new(), "a.*".into(), "*.b".into()],
        ..Settings::default()
    };
    let Err(Error::Values(mistakes)) = Config::from_settings(settings) else { panic!("refused") };
    let keys: Vec<&str> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(keys, ["data", "nats", "subjects", "subjects", "subjects"]);
    assert!(!mistakes[1].to_string().contains("secret"), "{}", mistakes[1]);
    assert_eq!(mistakes[2].complaint, "`subjects` has `a b`, expected no spaces");
    assert_eq!(mistakes[4].complaint, "`subjects` has `a.*` and `*.b`, which overlap in part");
}
