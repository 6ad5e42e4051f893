//! The documents of the settings: a commented file with all of them, and a table in Markdown.
//!
//! Both are made from the declaration of [`Settings`], and committed in `docs`; a test compares.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Arg, Args, Command};

use super::{AuthKind, Settings};

/// Columns of a comment in the example.
const COLUMNS: usize = 100;

const HEAD: &str = "\
# The settings of `lifeline run`, for `--config FILE` or the variable LIFELINE_CONFIG.
#
# Every setting has a flag, a variable and a key here. A flag outweighs the variable, the variable this file, this file the
# default. A line that begins with `#` and a key says what holds without it, or is an example where there is no default.
# `lifeline config check FILE` reports every mistake; `lifeline config show` says what is in force, and why.
";

const CONNECTION: &str = r#"
## The connection to NATS

A URL may hold `user:password@` or `token@`. The JSON of the Secret `sveltos-nats`, or of a file that `--nats` names, is that of
Sveltos; `credentials`, `jwt`, `nkey` and `domain` are ours:

```json
{"jetstream": {"configuration": {
  "url": "nats://nats.example.com:4222",
  "streams": [{"name": "EVENTS", "subjects": ["orders.>"]}],
  "domain": "hub",
  "authorization": {
    "credentials": "-----BEGIN NATS USER JWT-----...",
    "rootCA": "-----BEGIN CERTIFICATE-----...",
    "clientCert": {"certPem": "-----BEGIN CERTIFICATE-----...", "keyPem": "-----BEGIN PRIVATE KEY-----..."}
  }
}}}
```

Of `user` (`{"user": ..., "password": ...}`), `token`, `credentials`, `nkey` (a seed) and `jwt` (with `nkey`) there may be one. The files
of `--nats-credentials` and the other flags outweigh the JSON. All of it is read again every two seconds: what changed takes effect
without a restart, and a mistake keeps what is in use. An unknown field that may say whom we connect to is a mistake.
"#;

/// The declaration of the settings.
pub(super) fn arguments() -> Vec<Arg> {
    let command = Settings::augment_args(Command::new("settings"));
    command.get_arguments().filter(|argument| argument.get_env().is_some()).cloned().collect()
}

/// The keys of a file.
#[must_use]
pub fn keys() -> Vec<String> {
    arguments().iter().map(|argument| argument.get_id().to_string()).collect()
}

/// The defaults, and something to show where there is none.
fn examples() -> Settings {
    let text = |text: &str| Some(text.to_owned());
    let path = |text: &str| Some(PathBuf::from(text));
    Settings {
        nats: text("nats://nats.example.com:4222"),
        nats_credentials: path("/etc/lifeline/nats/user.creds"),
        nats_nkey: path("/etc/lifeline/nats/user.nk"),
        nats_ca: path("/etc/lifeline/nats/ca.crt"),
        nats_cert: path("/etc/lifeline/nats/tls.crt"),
        nats_key: path("/etc/lifeline/nats/tls.key"),
        jetstream_domain: text("hub"),
        subjects: vec!["user-operation".to_owned(), "orders.>".to_owned()],
        rules: vec!["/etc/lifeline/rules".into()],
        kubeconfig: path("/etc/lifeline/kubeconfig"),
        cluster_labels: vec!["env=production".to_owned()],
        auth: Some(AuthKind::Kubernetes),
        auth_token_file: path("/etc/lifeline/auth/token"),
        allowed_hosts: vec!["lifeline.example.com".to_owned()],
        tls_cert: path("/etc/lifeline/tls/tls.crt"),
        tls_key: path("/etc/lifeline/tls/tls.key"),
        ..Settings::default()
    }
    .or(Settings::defaults())
}

/// Settings as a table of TOML: what is said, by key.
pub(super) fn table(settings: &Settings) -> toml::Table {
    let table = toml::Table::try_from(settings).unwrap_or_default();
    table.into_iter().filter(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty())).collect()
}

/// A line of a file with an example of a setting, or with its default.
pub(super) fn line(key: &str) -> String {
    table(&examples()).get(key).map_or_else(|| format!("{key} = ..."), |value| format!("{key} = {value}"))
}

fn help(argument: &Arg) -> String {
    argument.get_help().map(ToString::to_string).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn values(argument: &Arg) -> String {
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !["true", "false"].contains(&value.get_name()))
        .map(|value| value.get_name().to_owned())
        .collect();
    if values.is_empty() { String::new() } else { format!(" One of: {}.", values.join(", ")) }
}

/// A file with every setting, all of them commented out.
#[must_use]
pub fn example() -> String {
    let mut out = HEAD.to_owned();
    for argument in arguments() {
        let text = format!("{}.{}", help(&argument), values(&argument));
        out.push('\n');
        for line in wrapped(&text) {
            // A String takes everything that is written to it.
            let _ = writeln!(out, "# {line}");
        }
        let _ = writeln!(out, "#{}", line(argument.get_id().as_str()));
    }
    out
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a line");
        if !last.is_empty() && last.len() + word.len() >= COLUMNS {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// A page with a table of all settings.
#[must_use]
pub fn page() -> String {
    let mut out = "\
# Settings

Generated from the declaration of `lifeline run`; a test keeps it so. Each setting is a flag, a variable, and a key of the TOML file
that `--config` or `LIFELINE_CONFIG` names. A flag outweighs the variable, the variable the file, the file the default. A file with all
of them: [lifeline.toml](lifeline.toml), which `lifeline config example` prints. `lifeline config check FILE` reports every mistake at
once; `lifeline config show` prints what is in force and where each value comes from.

| flag | variable | key | meaning |
|---|---|---|---|
"
    .to_owned();
    for argument in arguments() {
        let flag = argument.get_long().unwrap_or_default();
        let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = format!("{}.{}", help(&argument), values(&argument)).replace('|', "\\|");
        let _ = writeln!(out, "| `--{flag}` | `{variable}` | `{}` | {text} |", argument.get_id());
    }
    out + CONNECTION
}
