//! Who reaches what: lines of the threat model (`docs/THREATS.md`), tried from outside as the one who should not.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::LazyLock;
use std::time::Duration;

use async_nats::HeaderMap;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::PostParams;
use lifeline_ops::servers::NatsAccess;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{
    Event, Failure, Lifeline, Outcome, Producer, Scene, User, eventually, run, story, visits,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(30);

/// A name that is nowhere but in events.
const SUBJECT: &str = "quillfeather";
const TOKEN: &str = "s3cret-of-the-engine";
const PASSWORD: &str = "pa55word-of-nats";

static RULES: LazyLock<String> = LazyLock::new(|| {
    visits(
        r#"apiVersion: v1
kind: Namespace
metadata: {name: "{{ .CloudEvent.subject }}"}"#,
    )
});

/// What is in a Secret that a rule names, and not in what it makes.
const IN_SECRET: &str = "hidden-part-of-a-secret";
const POLICY: &str = "  - {kind: ConfigMap, namespace: default, name: visits}\n";
const POLICIES: &str = "  - {kind: ConfigMap, namespace: default, name: visits}
  - {kind: Secret, namespace: default, name: hidden}
";
const SECRET: &str = r#"---
apiVersion: v1
kind: Secret
type: addons.projectsveltos.io/cluster-profile
metadata:
  name: hidden
  namespace: default
  annotations: {projectsveltos.io/instantiate: ok}
stringData:
  namespace.yaml: |
    # hidden-part-of-a-secret
    apiVersion: v1
    kind: Namespace
    metadata: {name: "second-{{ .CloudEvent.subject }}"}
"#;

fn main() -> ExitCode {
    run(vec![
        story("no_web_page_reads_an_engine_on_loopback", &[Nats], pages),
        story("an_engine_for_others_has_names_that_no_page_can_have", &[Nats], names),
        story("the_api_speaks_tls_with_files_that_may_change", &[Nats], encrypted),
        story("the_nats_service_wants_the_token_that_http_wants", &[Nats], service),
        story("what_is_open_to_everybody_names_no_resource", &[Nats], open_paths),
        story("no_credential_is_stored_or_printed", &[Nats], credentials),
        story("who_may_publish_to_a_subject_speaks_for_all_its_resources", &[Nats], publishers),
        story("a_rule_may_do_what_the_engine_may_and_no_more", &[Nats, ControlPlane], rules),
    ])
}

/// Sends bytes and reads until the other side ends the connection; the status and the body.
async fn send(lifeline: &Lifeline, request: &str) -> Result<(u16, String), Failure> {
    let url = lifeline.url();
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no HTTP answer: `{answer}`"))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

/// A GET with these headers; what it must come to: 200, or a status and the code of a problem.
async fn check(lifeline: &Lifeline, target: &str, headers: &[&str], status: u16, code: &str) -> Outcome {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    let (got, body) = send(lifeline, &request).await?;
    assert_eq!(got, status, "{target} {headers}: {body}");
    if status >= 400 {
        let problem: Value = serde_json::from_str(&body)?;
        assert_eq!(problem["code"], code, "{target} {headers}: {body}");
    }
    Ok(())
}

async fn engine(scene: &Scene, more: &[&str]) -> Result<(lifeline_ops::servers::NatsServer, Lifeline), Failure> {
    let nats = scene.nats("nats")?;
    let rules = scene.write("engine/rules/rules.yaml", &RULES)?;
    let (url, rules) = (nats.url(), rules.to_string_lossy().into_owned());
    let lifeline =
        scene.lifeline("engine", &[&["--nats", &url, "--subjects", "visits", "--rules", &rules], more].concat())?;
    Ok((nats, lifeline))
}

async fn pages(scene: &Scene) -> Outcome {
    let (_nats, mut lifeline) = engine(scene, &["--allowed-hosts", "engine.example.com,*.office.example"]).await?;
    lifeline.wait_until_ready()?;
    for path in ["/v1/status", "/v1/watch", "/openapi.json", "/metrics", "/livez", "/readyz", "/nothing"] {
        // A page whose name was made to mean 127.0.0.1.
        check(&lifeline, path, &["Host: evil.example:7717"], 421, "foreign-host").await?;
        check(&lifeline, path, &["Host: 0.0.0.0:7717"], 421, "foreign-host").await?;
        check(&lifeline, path, &["Host: localhost", "Origin: https://evil.example"], 403, "foreign-page").await?;
        check(&lifeline, path, &["Host: localhost", "Origin: null"], 403, "foreign-page").await?;
        check(&lifeline, path, &["Host: localhost", "Sec-Fetch-Site: cross-site"], 403, "foreign-page").await?;
        check(&lifeline, path, &["Host: localhost", "Sec-Fetch-Site: same-site"], 403, "foreign-page").await?;
        check(&lifeline, path, &[], 400, "bad-host").await?;
        check(&lifeline, path, &["Host: localhost", "Host: localhost"], 400, "bad-host").await?;
        let target = format!("http://evil.example{path}");
        check(&lifeline, &target, &["Host: localhost"], 421, "foreign-host").await?;
    }
    for host in ["127.0.0.1:1", "[::1]:7717", "LOCALHOST", "engine.example.com", "a.office.example:443"] {
        check(&lifeline, "/v1/status", &[&format!("Host: {host}")], 200, "").await?;
    }
    check(&lifeline, "http://localhost/v1/status", &["Host: proxy.example"], 200, "").await?;
    check(&lifeline, "/v1/status", &["Host: localhost", "Sec-Fetch-Site: none"], 200, "").await?;
    check(&lifeline, "/v1/status", &["Host: localhost:7", "Origin: http://localhost:7"], 200, "").await?;
    // HTTP/1.0 knew no Host; load balancers still ask so.
    assert_eq!(send(&lifeline, "GET /livez HTTP/1.0\r\n\r\n").await?, (200, "ok\n".to_owned()));
    // No page gets the permission to read an answer.
    let (_, preflight) = send(
        &lifeline,
        "OPTIONS /v1/status HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\
         Access-Control-Request-Method: GET\r\nConnection: close\r\n\r\n",
    )
    .await?;
    assert!(preflight.contains("foreign-page"), "{preflight}");
    // A path that reads does nothing else.
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let request = format!("{method} /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(send(&lifeline, &request).await?.0, 405, "{method}");
    }
    Ok(())
}

async fn names(scene: &Scene) -> Outcome {
    let token = scene.write("token", TOKEN)?;
    let token = token.to_string_lossy().into_owned();
    let (_nats, lifeline) = engine(scene, &["--auth-token-file", &token]).await?;
    let mut lifeline = lifeline.listening_for_others()?;
    lifeline.wait_until_ready()?;
    lifeline.has_said("bearer tokens come without TLS").await?;
    // The kubelet and Prometheus ask the address of the pod, others the Service.
    for host in
        ["10.0.0.5:7717", "[fd00::5]:7717", "lifeline", "lifeline.prod.svc:7717", "lifeline.prod.svc.cluster.local"]
    {
        for path in ["/livez", "/readyz", "/metrics"] {
            check(&lifeline, path, &[&format!("Host: {host}")], 200, "").await?;
        }
        check(&lifeline, "/v1/status", &[&format!("Host: {host}")], 401, "unauthenticated").await?;
    }
    let shown = format!("Authorization: Bearer {TOKEN}");
    for path in ["/livez", "/readyz", "/metrics"] {
        check(&lifeline, path, &["Host: evil.example", &shown], 421, "foreign-host").await?;
        check(&lifeline, path, &["Host: 10.0.0.5", "Sec-Fetch-Site: cross-site"], 403, "foreign-page").await?;
    }
    // Behind an Ingress the engine has a name that it does not know; a page that has it still has no token.
    check(&lifeline, "/v1/status", &["Host: engine.example.com"], 401, "unauthenticated").await?;
    check(&lifeline, "/v1/status", &["Host: engine.example.com", &shown], 200, "").await?;
    check(&lifeline, "/v1/status", &["Host: localhost", &shown, "Origin: https://evil.example"], 403, "foreign-page")
        .await
}

/// A certificate authority, and what it signs.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Result<Authority, Failure> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Authority { certificate: parameters.self_signed(&key)?.pem(), issuer: Issuer::new(parameters, key) })
    }

    /// Writes a certificate and its key as a renewal does, one after the other.
    fn issue(&self, name: &str, year: i32, certificate: &Path, key: &Path) -> Outcome {
        let pair = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(vec![name.to_owned()])?;
        parameters.not_before = date_time_ymd(2000, 1, 1);
        parameters.not_after = date_time_ymd(year, 1, 1);
        fs::write(key, pair.serialize_pem())?;
        fs::write(certificate, parameters.signed_by(&pair, &self.issuer)?.pem())?;
        Ok(())
    }
}

/// What the command line says of an engine: whether it succeeds, and everything that it prints.
fn ask(server: &str, more: &[&str]) -> Result<(bool, String), Failure> {
    let output = Command::new(Lifeline::program()?).args(["get", "rules", "--server", server]).args(more).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

async fn encrypted(scene: &Scene) -> Outcome {
    let [certificate, key, ca, other_ca] =
        ["c.pem", "k.pem", "ca.pem", "other.pem"].map(|name| scene.folder().join(name));
    let (authority, other) = (Authority::new()?, Authority::new()?);
    fs::write(&ca, &authority.certificate)?;
    fs::write(&other_ca, &other.certificate)?;
    authority.issue("127.0.0.1", 2090, &certificate, &key)?;
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let (ca, other_ca) = (text(&ca), text(&other_ca));
    let tls = ["--tls-cert", &text(&certificate), "--tls-key", &text(&key)];
    let (nats, lifeline) = engine(scene, &tls).await?;
    let plain = lifeline.url();
    let server = plain.replace("http://", "https://");
    eventually("the engine to answer", SOON, async || {
        match ask(&server, &["--ca", &ca]).map_err(|error| error.to_string())? {
            (true, said) if said.contains("visits") => Ok(()),
            (_, said) => Err(said),
        }
    })
    .await?;
    let fails = |server: &str, more: &[&str], words: &str| {
        let (succeeded, said) = ask(server, more)?;
        assert!(!succeeded && said.contains(words) && said.contains("hint: "), "{server} {more:?}: {said}");
        Ok::<_, Failure>(())
    };
    fails(&server, &[], "an authority that this machine does not know")?;
    fails(&server, &["--ca", &other_ca], "signed by none of the authorities in")?;
    fails(&server.replace("127.0.0.1", "localhost"), &["--ca", &ca], "is for `127.0.0.1`, not for `localhost`")?;
    fails(&plain, &[], "plain HTTP was sent to a port that speaks TLS")?;
    // A port that speaks something else.
    fails(&format!("https://{}", nats.address()), &["--ca", &ca], "it speaks no TLS")?;
    fails(&format!("http://{}", nats.address()), &[], "does not answer in HTTP")?;
    // A client that speaks plain HTTP learns nothing, by any name.
    check(&lifeline, "/metrics", &["Host: localhost"], 400, "tls-required").await?;

    // A renewal for another name is used without a restart.
    authority.issue("localhost", 2090, &certificate, &key)?;
    let renewed = server.replace("127.0.0.1", "localhost");
    eventually("the new certificate", SOON, async || {
        match ask(&renewed, &["--ca", &ca]).map_err(|error| error.to_string())? {
            (true, _) => Ok(()),
            (false, said) => Err(said),
        }
    })
    .await?;
    // What cannot be used is said, and what was used stays.
    fs::write(&certificate, "half a certifi")?;
    lifeline.has_said("those in use are kept: `").await?;
    assert!(ask(&renewed, &["--ca", &ca])?.0);
    authority.issue("localhost", 2001, &certificate, &key)?;
    lifeline.has_said("expired at 2001-01-01T00:00:00Z").await?;
    assert!(ask(&renewed, &["--ca", &ca])?.0);
    Ok(())
}

async fn service(scene: &Scene) -> Outcome {
    let token = scene.write("token", TOKEN)?;
    let token = token.to_string_lossy().into_owned();
    let (nats, mut lifeline) = engine(scene, &["--auth-token-file", &token]).await?;
    lifeline.wait_until_ready()?;
    Producer::connect(&nats, "visits").await?.publish(Event::user("login", SUBJECT)).await?;
    let client = async_nats::connect(nats.url()).await?;
    eventually("the service to answer", SOON, async || client.request("$SRV.PING.lifeline", "".into()).await).await?;

    let request = async |noun: &str, headers: &[(&str, &str)]| {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.append(*name, *value));
        let subject = format!("lifeline.v1.{noun}");
        let answer = client.request_with_headers(subject, map, r#"{"source":"nobody"}"#.into()).await?;
        let code = answer.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error-Code"));
        Ok::<_, Failure>((code.map(|code| code.as_str().to_owned()), serde_json::from_slice::<Value>(&answer.payload)?))
    };
    let refused: [&[(&str, &str)]; 6] = [
        &[],
        &[("Authorization", "Bearer wrong")],
        &[("Authorization", TOKEN)],
        &[("Authorization", "Basic czNjcmV0")],
        &[("X-Authorization", &format!("Bearer {TOKEN}"))],
        &[("Authorization", &format!("Bearer {TOKEN}")), ("authorization", "Bearer wrong")],
    ];
    for headers in refused {
        for noun in ["lifecycles", "resource", "status", "verify", "why.object"] {
            let (code, problem) = request(noun, headers).await?;
            assert_eq!(code.as_deref(), Some("401"), "{noun} {headers:?}: {problem}");
            assert_eq!(problem["code"], "unauthenticated", "{noun} {headers:?}");
        }
    }
    let shown = format!("Bearer {TOKEN}");
    for name in ["Authorization", "authorization", "AUTHORIZATION"] {
        let (code, answer) = request("lifecycles", &[(name, &shown)]).await?;
        assert_eq!(code, None, "{answer}");
        assert!(answer["items"].is_array(), "{answer}");
    }
    let (code, problem) = request("resource", &[("Authorization", &shown)]).await?;
    assert_eq!((code.as_deref(), &problem["code"]), (Some("404"), &json!("unknown-resource")));
    // Discovery is open, as everywhere in NATS, and says of failures what they are and not what they are about.
    let stats = client.request("$SRV.STATS.lifeline", "".into()).await?;
    let stats = String::from_utf8_lossy(&stats.payload).into_owned();
    assert!(stats.contains("404:Nothing is known of this resource"), "{stats}");
    assert!(!stats.contains("nobody") && !stats.contains(SUBJECT), "{stats}");
    Ok(())
}

async fn open_paths(scene: &Scene) -> Outcome {
    let token = scene.write("token", TOKEN)?;
    let token = token.to_string_lossy().into_owned();
    let (nats, mut lifeline) = engine(scene, &["--auth-token-file", &token]).await?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.publish(Event::user("login", SUBJECT)).await?;
    // One that fails: a reason is where a name would be repeated.
    producer.publish(Event::user("login", &format!("{SUBJECT}_is_no_name"))).await?;
    producer.publish("{\"hello\": \"quillfeather\"}").await?;
    let shown = format!("Authorization: Bearer {TOKEN}\r\n");
    eventually("both to be tried", SOON, async || {
        let request = format!("GET /v1/lifecycles HTTP/1.0\r\n{shown}\r\n");
        let (_, body) = send(&lifeline, &request).await.map_err(|failure| failure.to_string())?;
        let is_tried = body.contains("\"Ready\"") && body.contains("\"Failing\"");
        if is_tried { Ok(()) } else { Err(body) }
    })
    .await?;
    for path in ["/livez", "/readyz", "/metrics"] {
        let (status, body) = send(&lifeline, &format!("GET {path} HTTP/1.0\r\n\r\n")).await?;
        assert_eq!(status, 200, "{path}");
        assert!(!body.contains(SUBJECT), "{path} names a resource:\n{body}");
    }
    Ok(())
}

/// Whether a file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> Result<Option<PathBuf>, Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            holds(&path, text)?
        } else {
            let mut bytes = Vec::new();
            fs::File::open(&path)?.read_to_end(&mut bytes)?;
            // Segments end with room that is not used yet.
            let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            bytes[..end].windows(text.len()).any(|window| window == text.as_bytes()).then_some(path)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

async fn credentials(scene: &Scene) -> Outcome {
    let access = NatsAccess::User { user: "engine".to_owned(), password: PASSWORD.to_owned() };
    let nats = scene.nats_with("nats", access, "")?;
    let rules = scene.write("engine/rules/rules.yaml", &format!("{}{SECRET}", RULES.replace(POLICY, POLICIES)))?;
    let token = scene.write("token", TOKEN)?;
    let url = format!("nats://engine:{PASSWORD}@{}", nats.address());
    let (rules, token) = (rules.to_string_lossy(), token.to_string_lossy());
    let arguments = ["--nats", &url, "--subjects", "visits", "--rules", &rules, "--auth-token-file", &token];
    let mut lifeline = scene.lifeline("engine", &arguments)?;
    lifeline.wait_until_ready()?;
    let client = async_nats::ConnectOptions::with_user_and_password("engine".into(), PASSWORD.into());
    Producer::on(client.connect(nats.url()).await?, "visits").publish(Event::user("login", SUBJECT)).await?;
    let shown = format!("Authorization: Bearer {TOKEN}");
    check(&lifeline, "/v1/status", &["Host: localhost", &shown], 200, "").await?;
    let wrong = format!("Authorization: Bearer {TOKEN}x");
    check(&lifeline, "/v1/status", &["Host: localhost", &wrong], 401, "unauthenticated").await?;
    let (_, status) = send(&lifeline, &format!("GET /v1/status HTTP/1.0\r\n{shown}\r\n\r\n")).await?;
    assert!(status.contains("visits") || status.contains("LIFELINE"), "{status}");
    assert!(!status.contains(PASSWORD) && !status.contains(TOKEN), "{status}");
    eventually("the event on the disk", SOON, async || {
        // The object that the Secret makes, so it was rendered.
        let found = holds(&lifeline.data(), &format!("second-{SUBJECT}")).map_err(|failure| failure.to_string())?;
        found.ok_or_else(|| "it is not there".to_owned())
    })
    .await?;
    // The server goes and comes back: what is said of a lost connection names the server, not its password.
    drop(nats);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(lifeline.stop(), Some(0));
    for secret in [PASSWORD, TOKEN, IN_SECRET] {
        assert_eq!(holds(&lifeline.data(), secret)?, None, "{secret}");
        let said = fs::read_to_string(lifeline.log())?;
        assert!(!said.contains(secret), "{said}");
    }
    // Events are there in plain text: the folder is for its owner alone.
    let mode = fs::metadata(lifeline.data())?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "{mode:o}");
    Ok(())
}

async fn publishers(scene: &Scene) -> Outcome {
    let users = r#"authorization { users: [
        {user: engine, password: engine}
        {user: shop, password: shop, permissions: {publish: ["visits", "_INBOX.>"], subscribe: ["_INBOX.>"]}}
        {user: guest, password: guest, permissions: {publish: ["other.>"], subscribe: ["_INBOX.>"]}}
    ] }"#;
    let nats = scene.nats_with("nats", NatsAccess::Anybody, users)?;
    let rules = scene.write("engine/rules/rules.yaml", &RULES)?;
    let (url, rules) = (format!("nats://engine:engine@{}", nats.address()), rules.to_string_lossy().into_owned());
    let mut lifeline = scene.lifeline("engine", &["--nats", &url, "--subjects", "visits", "--rules", &rules])?;
    lifeline.wait_until_ready()?;
    let connect = async |user: &str| {
        let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned());
        options.connect(nats.url()).await
    };
    let (shop, guest) = (connect("shop").await?, connect("guest").await?);
    let phase = async |expected: &str| {
        eventually(&format!("the lifecycle to be {expected}"), SOON, async || {
            let rows =
                lifeline.ask(&["get", "lifecycles", "--subject", SUBJECT]).map_err(|failure| failure.to_string())?;
            if rows["items"][0]["phase"] == expected { Ok(()) } else { Err(rows.to_string()) }
        })
        .await
    };
    Producer::on(shop.clone(), "visits").publish(Event::user("login", SUBJECT)).await?;
    phase("Ready").await?;
    // NATS is the fence: one who may not publish to the subject says nothing, and asks nothing either.
    guest.publish("visits", Event::user("logout", SUBJECT).into()).await?;
    guest.flush().await?;
    let asked = tokio::time::timeout(Duration::from_secs(2), guest.request("lifeline.v1.lifecycles", "".into())).await;
    assert!(!matches!(asked, Ok(Ok(_))), "{asked:?}");
    lifeline.has_recorded(1).await?;
    phase("Ready").await?;
    // Not defended: a client that may publish to the subject can speak of every resource, also of those of others.
    Producer::on(shop, "visits").publish(Event::user("logout", SUBJECT)).await?;
    phase("Gone").await
}

async fn rules(scene: &Scene) -> Outcome {
    let admin = scene.control_plane().client(User::Admin).await?;
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": {"name": "access-engine"},
        "rules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}],
    }))?;
    Api::all(admin.clone()).create(&PostParams::default(), &role).await?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "access-engine"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "access-engine"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": User::Engine.name()}],
    }))?;
    Api::all(admin.clone()).create(&PostParams::default(), &binding).await?;

    let nats = scene.nats("nats")?;
    // The rule binds a user of its choice to all rights.
    let greedy = RULES.replace(
        r#"    metadata: {name: "{{ .CloudEvent.subject }}"}"#,
        r#"    metadata: {name: "{{ .CloudEvent.subject }}"}
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRoleBinding
    metadata: {name: "{{ .CloudEvent.subject }}"}
    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
    subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: mallory}]"#,
    );
    let rules = scene.write("engine/rules/rules.yaml", &greedy)?;
    let kubeconfig = scene.control_plane().kubeconfig(User::Engine);
    let (url, rules, kubeconfig) = (nats.url(), rules.to_string_lossy(), kubeconfig.to_string_lossy());
    let place = ["--nats", &url, "--subjects", "visits", "--rules", &rules];
    let mut lifeline =
        scene.lifeline("engine", &[&["--cluster", "kube", "--kubeconfig", &kubeconfig][..], &place].concat())?;
    lifeline.wait_until_ready()?;
    Producer::connect(&nats, "visits").await?.publish(Event::user("login", SUBJECT)).await?;
    eventually("the refusal to be shown", SOON, async || {
        let rows = lifeline.ask(&["get", "lifecycles", "--subject", SUBJECT]).map_err(|failure| failure.to_string())?;
        let error = rows["items"][0]["error"].as_str().unwrap_or_default().to_owned();
        if error.contains("clusterrolebindings") && error.contains("forbidden") {
            Ok(())
        } else {
            Err(rows.to_string())
        }
    })
    .await?;
    assert!(Api::<ClusterRoleBinding>::all(admin.clone()).get_opt(SUBJECT).await?.is_none(), "it was not made");
    // What the engine may do, the rule may do: nobody else is asked.
    assert!(Api::<Namespace>::all(admin).get_opt(SUBJECT).await?.is_some(), "the Namespace was made");
    Ok(())
}
