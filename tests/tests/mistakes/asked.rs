//! What is typed or asked wrongly: the error and its remedy, for people and as JSON for programs.

use super::*;

/// What people ask wrongly: the arguments, the exit code, and words of the error and of its remedy.
const ASKED_WRONGLY: &[(&[&str], i32, &str, &str)] = &[
    (&["get", "event", "99"], 1, "offset `99` is not reached yet, the log ends at `", "shows the latest offsets"),
    (&["get", "lifecycles", "--as-of", "99"], 1, "offset `99` is not reached yet", "shows the latest offsets"),
    (&["get", "lifecycles", "--at-least", "99"], 1, "offset `99` is not reached yet", "`--at-least`"),
    (&["get", "lifecycles", "--age-min", "2m", "--age-max", "1m"], 2, "no age is both", "`--age-min` is the smaller"),
    (&["get", "lifecycles", "--data", "/nowhere"], 1, "there is no log in `/nowhere`", "`lifeline run --data`"),
    (&["get", "lifecycles", "--phase", "sleepy"], 2, "invalid value 'sleepy'", "--help"),
    (&["get", "lifecycles", "--token-file", "/nowhere"], 1, "token file `/nowhere`", "`LIFELINE_TOKEN_FILE`"),
    (&["show", "orphans", "--data", "/nowhere"], 2, "not in the data folder `/nowhere`", "without `--data`"),
    (&["show", "dryrun", "--data", "/nowhere"], 2, "not in the data folder `/nowhere`", "without `--data`"),
    (&["history", "nobody"], 1, "source `nobody` without a subject", "`lifeline get resources`"),
    (&["history", "", "nothing"], 1, "a list of the trigger `nothing`", "`lifeline get resources`"),
    (&["why", "event", "99"], 1, "offset `99` is not reached yet", "shows the latest offsets"),
    (&["diff", "2", "1"], 2, "FROM, 2, is later than TO, 1", "the earlier moment first"),
    (&["confirm", "abc"], 1, "nothing is held under `abc`", "`lifeline status`"),
    (&["replay", "--trigger", "nope"], 1, "no EventTrigger `nope` is in force", "`lifeline get rules`"),
    (&["log", "level", "loud"], 1, "`loud` is no level, expected one of", ""),
];

/// What is wrong before any engine is asked.
const TYPED_WRONGLY: &[(&[&str], i32, &str, &str)] = &[
    (&["lint", "/nowhere"], 2, "`/nowhere` cannot be read", "check the path"),
    (&["plan", "-f", "/nowhere"], 1, "`/nowhere` cannot be read", "check the path"),
    (&["get", "rules", "--server", "ftp://x"], 1, "server `ftp://x` is no address", "`http://HOST:PORT`"),
    (&["get", "rules", "--server", "http://127.0.0.1:1"], 1, "no engine answers at `127.0.0.1:1`", "`lifeline run`"),
    (&["get", "rulez"], 2, "unrecognized subcommand 'rulez'", "'rules'"),
];

pub async fn wrongly(scene: &Scene) -> Outcome {
    let (lifeline, _producer, nats) = stage(scene, RULES).await?;
    let url = lifeline.url();
    let asked = ASKED_WRONGLY.iter().map(|(asked, code, error, hint)| {
        // One that asks a folder asks no engine.
        let server = if asked.contains(&"--data") { Vec::new() } else { vec!["--server", url.as_str()] };
        ([asked.to_vec(), server].concat(), *code, *error, *hint)
    });
    let typed = TYPED_WRONGLY.iter().map(|(typed, code, error, hint)| (typed.to_vec(), *code, *error, *hint));
    for (arguments, code, error, hint) in asked.chain(typed) {
        let (found, said) = Lifeline::exit_of(&arguments)?;
        println!("mistakes: {arguments:?}: {said}");
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        tells(&said, &["error: ", error, hint]);
        let (found, said) = Lifeline::exit_of(&[&arguments[..], &["-o", "json"]].concat())?;
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        let structured: Value =
            serde_json::from_str(&said).map_err(|error| format!("{arguments:?}: {error}: {said}"))?;
        tells(structured["error"].as_str().unwrap_or_default(), &[error]);
        tells(structured["hint"].as_str().unwrap_or_default(), &[hint]);
    }
    // What ends a start is said before the engine speaks of anything else.
    let settings = scene.write("settings.json", "hello")?.to_string_lossy().into_owned();
    let data = scene.folder().join("other").to_string_lossy().into_owned();
    for (arguments, words) in [
        (&["--nats", "/nowhere"][..], &["connection settings `/nowhere` cannot be read", "nats://HOST:PORT"][..]),
        (&["--nats", &settings], &["this is not JSON", "expected the form of Sveltos"]),
        (&["--history-wait", "soon"], &["'soon'", "expected a whole number"]),
        (&["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], &["TLS file `/nowhere`", "check the path"]),
        (&["--auth-token-file", "/nowhere"], &["token file `/nowhere`", "`--auth-token-file`"]),
    ] {
        let run = ["run", "--data", &data, "--listen", "127.0.0.1:0"];
        let (code, said) = Lifeline::exit_of(&[&run[..], arguments].concat())?;
        assert!(code.is_some_and(|code| code != 0), "{arguments:?}: {said}");
        tells(last_words(&said), words);
    }
    // Where nobody speaks HTTP.
    let (_, said) = Lifeline::exit_of(&["get", "rules", "--server", &format!("http://{}", nats.address())])?;
    tells(&said, &["does not answer in HTTP", "is it an engine?"]);
    for (typed, words) in [(&["help", "get"][..], "Usage: "), (&["version"], "lifeline ")] {
        let (code, said) = Lifeline::exit_of(typed)?;
        assert_eq!(code, Some(0), "{typed:?}: {said}");
        tells(&said, &[words]);
    }
    Ok(())
}
