//! A nats-server of our own: JetStream in a folder, on a free loopback port, as a child process.
//!
//! Start at [`NatsServer::start`]. It keeps its port and its store over [`NatsServer::kill`] and
//! [`NatsServer::restart`], so that a client sees what it would see of a real outage.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::{Error, NatsProgram, Process};

/// A start takes milliseconds; a store of gigabytes takes longer.
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Who may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NatsAccess {
    /// Everybody on this machine.
    #[default]
    Anybody,
    /// One user with a password.
    User {
        /// The name.
        user: String,
        /// The password, in the clear.
        password: String,
    },
    /// Those who know the token.
    Token(String),
}

/// What a nats-server of ours is like.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// The folder for its store (`jetstream/`), its configuration and its log. Made when it is not there.
    pub folder: PathBuf,
    /// Who may connect.
    pub access: NatsAccess,
    /// More lines of nats-server configuration, after ours. A `jetstream` block here replaces ours.
    pub configuration: String,
}

/// A nats-server that runs, or that was killed and can be started again. Dropping it kills it.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl NatsServer {
    /// Starts a nats-server on a port that it chooses itself, and waits until it takes connections.
    ///
    /// # Errors
    /// When the folder cannot be written or the server ends at once; the error then holds the last lines of its log.
    pub fn start(program: &NatsProgram, options: &NatsOptions) -> Result<Self, Error> {
        fs::create_dir_all(&options.folder).map_err(Error::file("create", &options.folder))?;
        // The server writes the folder into file names of its own: it must mean the same from anywhere.
        let folder = options.folder.canonicalize().map_err(Error::file("find", &options.folder))?;
        let configuration = folder.join("nats-server.conf");
        // In a file that only we may read, for a command line can be seen by anybody.
        fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&configuration)
            .and_then(|mut file| file.write_all(configuration_text(&folder, options).as_bytes()))
            .map_err(Error::file("write", &configuration))?;
        let mut server = Self { program: program.path.clone(), folder, port: 0, process: None };
        server.restart()?;
        Ok(server)
    }

    /// Its address without credentials: `nats://127.0.0.1:41873`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Host and port: `127.0.0.1:41873`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file that holds everything it printed, over all restarts.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("nats-server.log")
    }

    /// Kills it with SIGKILL. Its port and its store wait for [`Self::restart`].
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Lets it end in good order (SIGTERM). Its port and its store wait for [`Self::restart`].
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(STOP_PATIENCE);
        }
    }

    /// Freezes it: connections stay open and nothing answers. [`Self::thaw`] lets it go on.
    pub fn freeze(&mut self) {
        if let Some(process) = &mut self.process {
            process.freeze();
        }
    }

    /// Lets a frozen one go on.
    pub fn thaw(&mut self) {
        if let Some(process) = &mut self.process {
            process.thaw();
        }
    }

    /// Starts it on the same port with the same store, killing it first if it still runs.
    ///
    /// # Errors
    /// As [`Self::start`]; also when somebody else took the port meanwhile.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill();
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.folder.join("nats-server.conf"));
        // Port -1 lets the server choose: no port is looked for that somebody else could take before it listens.
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        command.args(["--addr", "127.0.0.1", "--port", &port]).arg("--ports_file_dir").arg(&self.folder);
        let mut process = Process::start("nats-server", command, &self.log())?;
        let ports_file = self.ports_file(process.id());
        // The server writes this file once it takes connections.
        self.port = process.ready(READY_WITHIN, || port_in(&ports_file))?;
        // Its name holds the process number: left there, it would speak for another server one day.
        fs::remove_file(&ports_file).map_err(Error::file("remove", ports_file))?;
        self.process = Some(process);
        Ok(())
    }

    fn ports_file(&self, pid: u32) -> PathBuf {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        self.folder.join(format!("{name}_{pid}.ports"))
    }
}

/// Reads `{"nats":["nats://127.0.0.1:41873"]}`.
fn port_in(ports_file: &Path) -> Result<u16, String> {
    #[derive(Deserialize)]
    struct Ports {
        nats: Vec<String>,
    }
    let text = fs::read_to_string(ports_file).map_err(|_| "it has not said yet which port it has".to_owned())?;
    // Half written is as good as not there yet.
    let ports: Ports = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let port = ports.nats.first().and_then(|url| url.rsplit(':').next()).and_then(|port| port.parse().ok());
    port.ok_or_else(|| format!("it named no port in `{text}`"))
}

fn configuration_text(folder: &Path, options: &NatsOptions) -> String {
    let store = quoted(&folder.to_string_lossy());
    let access = match &options.access {
        NatsAccess::Anybody => String::new(),
        NatsAccess::User { user, password } => {
            format!("authorization {{ user: {}, password: {} }}\n", quoted(user), quoted(password))
        }
        NatsAccess::Token(token) => format!("authorization {{ token: {} }}\n", quoted(token)),
    };
    format!("jetstream {{ store_dir: {store} }}\n{access}{}\n", options.configuration)
}

/// A string as nats-server's configuration writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_holds_any_password() {
        fn check(access: NatsAccess, expected: &str) {
            let options =
                NatsOptions { access, configuration: "max_payload: 2MB".to_owned(), ..NatsOptions::default() };
            assert_eq!(configuration_text(Path::new("/store"), &options), expected);
        }
        check(NatsAccess::Anybody, "jetstream { store_dir: \"/store\" }\nmax_payload: 2MB\n");
        check(
            NatsAccess::User { user: "ad\"min".to_owned(), password: "a\\b\n".to_owned() },
            "jetstream { store_dir: \"/store\" }\n\
             authorization { user: \"ad\\\"min\", password: \"a\\\\b\\n\" }\nmax_payload: 2MB\n",
        );
        check(
            NatsAccess::Token("t".to_owned()),
            "jetstream { store_dir: \"/store\" }\nauthorization { token: \"t\" }\nmax_payload: 2MB\n",
        );
    }

    #[test]
    fn a_port_is_read_only_when_it_is_there_in_full() {
        fn check(text: &str, expected: Option<u16>) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("nats-server_1.ports");
            fs::write(&file, text).unwrap();
            assert_eq!(port_in(&file).ok(), expected, "{text}");
        }
        check(r#"{"nats":["nats://127.0.0.1:41873"]}"#, Some(41873));
        check(r#"{"nats":["nats://127.0.0.1:4"#, None);
        check(r#"{"nats":[]}"#, None);
        check("", None);
    }
}
