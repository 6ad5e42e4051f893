//! What is in force, and where each value comes from.
//!
//! Start at [`load`]: what was typed, then the file, then the defaults. Values that may hold a password are masked in
//! everything that is shown.

use std::collections::BTreeMap;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use super::file::{File, SECRET};
use super::{Auth, Config, Error, Mistake, Settings, example};

/// Which settings were typed, and which came from the environment. Parsed before [`Settings`], from the same words.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    by_environment: BTreeMap<String, bool>,
}

impl Typed {
    fn note(&mut self, matches: &ArgMatches) {
        for key in example::keys() {
            match matches.value_source(&key) {
                Some(ValueSource::EnvVariable) => _ = self.by_environment.insert(key, true),
                Some(ValueSource::CommandLine) => _ = self.by_environment.insert(key, false),
                _ => {}
            }
        }
    }
}

impl FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Typed, clap::Error> {
        let mut typed = Typed::default();
        typed.note(matches);
        Ok(typed)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.note(matches);
        Ok(())
    }
}

impl Args for Typed {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InForce {
    /// Its key.
    pub key: String,
    /// Its value, secrets masked; absent where it is not set and has no default.
    pub value: Option<toml::Value>,
    /// `flag --nats`, `environment LIFELINE_NATS`, `lifeline.toml:3`, or `default`.
    pub from: String,
}

/// What the settings mean, and each of them with where it comes from.
///
/// # Errors
/// All mistakes at once, those of the file and those of the values.
pub fn load(typed: Settings, sources: &Typed, file: Option<&Path>) -> Result<(Config, Vec<InForce>), Error> {
    let mut file = file.map(File::read).transpose()?.unwrap_or_default();
    let (said, mut mistakes) = (std::mem::take(&mut file.settings), std::mem::take(&mut file.mistakes));
    let from = |key: &str| match (sources.by_environment.get(key), file.lines.get(key)) {
        (Some(true), _) => format!("environment {}", variable(key)),
        (Some(false), _) => format!("flag --{}", flag(key)),
        (None, Some(line)) => file.place(*line),
        (None, None) => "default".to_owned(),
    };
    let merged = typed.or(said);
    let config = match Config::from_settings(merged.clone()) {
        Ok(config) => Some(config),
        Err(Error::Values(values)) => {
            mistakes.extend(values.into_iter().map(|mistake| {
                let place = Some(from(&mistake.key)).filter(|place| place != "default");
                Mistake { place, ..mistake }
            }));
            None
        }
        Err(error) => return Err(error),
    };
    match config {
        Some(config) if mistakes.is_empty() => {
            let merged = Settings { nats: config.nats.clone(), ..merged.or(Settings::defaults()) };
            let mut values = example::table(&merged);
            // Decided by where it listens.
            let auth = match config.auth {
                Auth::None => "none",
                Auth::Token(_) => "token",
                Auth::Kubernetes => "kubernetes",
            };
            values.insert("auth".to_owned(), auth.into());
            let rows = example::keys().into_iter().map(|key| InForce {
                value: values.remove(&key).map(|value| masked(&key, value)),
                from: from(&key),
                key,
            });
            Ok((config, rows.collect()))
        }
        _ => {
            mistakes.sort_by_key(File::line_of);
            Err(Error::Values(mistakes))
        }
    }
}

/// The flag of a key.
fn flag(key: &str) -> String {
    let arguments = example::arguments();
    let long = arguments.iter().find(|argument| argument.get_id() == key).and_then(|argument| argument.get_long());
    long.unwrap_or(key).to_owned()
}

fn variable(key: &str) -> String {
    format!("LIFELINE_{}", key.to_uppercase())
}

/// A value as it may be shown.
fn masked(key: &str, value: toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) if SECRET.contains(&key) => {
            toml::Value::String(text.split(',').map(without_credentials).collect::<Vec<_>>().join(","))
        }
        other => other,
    }
}

/// A URL without what stands before its host. A lone user is a token, so it goes as well.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://***@{host}"),
            None => url.to_owned(),
        },
        None => match url.rsplit_once('@') {
            Some((_, host)) if url.contains(':') => format!("***@{host}"),
            _ => url.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shown_url_holds_a_password() {
        let check = |url: &str, expected: &str| {
            assert_eq!(masked("nats", url.into()), toml::Value::from(expected), "{url}");
        };
        check("nats://me:secret@h:4222", "nats://***@h:4222");
        check("nats://token@h,tls://a:b@c@d", "nats://***@h,tls://***@d");
        check("me:secret@h", "***@h");
        check("nats://h:4222", "nats://h:4222");
        check("/etc/nats.json", "/etc/nats.json");
    }
}
