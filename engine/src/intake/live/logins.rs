//! Each way to show who we are, against a server that asks for it.

use super::connections::Authority;
use super::*;
use crate::intake::connection::Files;

/// The seed of a user's NKey and its public key, as `nk -gen user -pubout` prints them.
fn nkey() -> (String, String) {
    let pair = nkeys::KeyPair::new_user();
    (pair.seed().unwrap(), pair.public_key())
}

/// A JWT as the operator's tools sign it: header, claims, signature, each in base64.
fn jwt(claims: serde_json::Value, signer: &nkeys::KeyPair) -> String {
    use data_encoding::BASE64URL_NOPAD;
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
    format!("{body}.{}", BASE64URL_NOPAD.encode(&signer.sign(body.as_bytes()).unwrap()))
}

fn claims(kind: &str, subject: &nkeys::KeyPair, issuer: &nkeys::KeyPair, more: serde_json::Value) -> serde_json::Value {
    let mut nats = serde_json::json!({"type": kind, "version": 2});
    for (name, value) in more.as_object().unwrap() {
        nats[name] = value.clone();
    }
    serde_json::json!({
        "jti": format!("lifeline-{kind}-{}", subject.public_key()), "iat": 1_700_000_000,
        "iss": issuer.public_key(), "sub": subject.public_key(), "name": kind, "nats": nats,
    })
}

/// A server with an operator and an account, and a credentials file of one of its users.
struct Operated {
    server: Server,
    account: nkeys::KeyPair,
}

impl Operated {
    fn start() -> Operated {
        let (operator, account) = (nkeys::KeyPair::new_operator(), nkeys::KeyPair::new_account());
        let limits = serde_json::json!({"limits": {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1,
            "data": -1, "payload": -1, "wildcards": true, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}});
        let operator_jwt = jwt(claims("operator", &operator, &operator, serde_json::json!({})), &operator);
        let account_jwt = jwt(claims("account", &account, &operator, limits), &operator);
        let configuration = format!(
            "operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_jwt} }}",
            account.public_key()
        );
        Operated { server: Server::start(nats_server(), "plain", &configuration), account }
    }

    /// What `nsc generate creds` writes.
    fn credentials(&self) -> (String, String) {
        let user = nkeys::KeyPair::new_user();
        let token = jwt(
            claims("user", &user, &self.account, serde_json::json!({"subs": -1, "data": -1, "payload": -1})),
            &self.account,
        );
        (token, user.seed().unwrap())
    }
}

fn with(url: &str, files: Files) -> Result<Connection, crate::intake::Error> {
    Connection::from_url(url, "--nats", &[])?.with_files(&files)
}

fn parsed(url: &str, authorization: serde_json::Value) -> Connection {
    let json =
        serde_json::json!({"nats": {"configuration": {"url": url, "subjects": ["s"], "authorization": authorization}}});
    Connection::parse(&json.to_string(), "conf.json").unwrap()
}

async fn lets_in(connection: &Connection) -> Result<(), String> {
    let (client, _) = connection.servers[0].connect().await.map_err(|error| error.to_string())?;
    client.flush().await.map_err(|error| error.to_string())
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn an_nkey_lets_us_in_from_a_file_and_from_the_secret() {
    let (seed, public) = nkey();
    let server = Server::start(nats_server(), "plain", &format!("authorization {{ users: [ {{ nkey: {public} }} ] }}"));
    let file = server.folder.path().join("user.nk");
    std::fs::write(&file, format!("# of the engine\n{seed}\n")).unwrap();
    let files = |path: &std::path::Path| Files { nkey: Some(path.to_owned()), ..Files::default() };
    lets_in(&with(&server.url(), files(&file)).unwrap()).await.unwrap();
    lets_in(&parsed(&server.url(), serde_json::json!({"nkey": seed}))).await.unwrap();
    std::fs::write(&file, nkey().0).unwrap();
    let refused = lets_in(&with(&server.url(), files(&file)).unwrap()).await.expect_err("another key");
    assert!(refused.contains("refused the NKey") && refused.contains("user.nk"), "{refused}");
    let absent =
        with(&server.url(), files(std::path::Path::new("/nonexist/user.nk"))).expect_err("no file").to_string();
    assert!(absent.contains("`nats_nkey` names `/nonexist/user.nk`"), "{absent}");
    assert!(!format!("{:?}", with(&server.url(), files(&file))).contains("SU"), "the seed is printed");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_jwt_lets_us_in_as_a_credentials_file_and_from_the_secret() {
    let operated = Operated::start();
    let (token, seed) = operated.credentials();
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    let url = format!("nats://127.0.0.1:{}", operated.server.port);
    let file = operated.server.folder.path().join("user.creds");
    std::fs::write(&file, &text).unwrap();
    let files = || Files { credentials: Some(file.clone()), ..Files::default() };
    lets_in(&with(&url, files()).unwrap()).await.unwrap();
    lets_in(&parsed(&url, serde_json::json!({"credentials": text}))).await.unwrap();
    lets_in(&parsed(&url, serde_json::json!({"jwt": token, "nkey": seed}))).await.unwrap();
    let refused =
        lets_in(&parsed(&url, serde_json::json!({"jwt": token, "nkey": nkey().0}))).await.expect_err("another seed");
    assert!(refused.contains("refused the credentials"), "{refused}");
    std::fs::write(&file, "nothing").unwrap();
    let wrong = with(&url, files()).expect_err("no credentials").to_string();
    assert!(wrong.contains("`nats_credentials` holds no credentials"), "{wrong}");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn authorities_and_a_certificate_may_come_from_files() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, text) in [("ca.pem", &authority.pem), ("cert.pem", &certificate), ("key.pem", &key)] {
        std::fs::write(path(name), text).unwrap();
    }
    let tls = "tls { cert_file: DIR/cert.pem, key_file: DIR/key.pem, ca_file: DIR/ca.pem, verify: true }"
        .replace("DIR", folder.path().to_str().unwrap());
    let server = Server::start(nats_server(), "plain", &tls);
    let authorities = Some(path("ca.pem"));
    let whole = Files {
        authorities: authorities.clone(),
        certificate: Some((path("cert.pem"), path("key.pem"))),
        ..Files::default()
    };
    lets_in(&with(&server.url(), whole).unwrap()).await.unwrap();
    let bare = Files { authorities, ..Files::default() };
    lets_in(&with(&server.url(), bare).unwrap()).await.expect_err("no certificate is shown");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn websockets_carry_the_same_with_and_without_tls() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("cert.pem", &certificate), ("key.pem", &key)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (scheme, more) in [("ws", "no_tls: true"), ("wss", "tls { cert_file: DIR/cert.pem, key_file: DIR/key.pem }")] {
        let port = port();
        let more = more.replace("DIR", folder.path().to_str().unwrap());
        let configuration =
            format!("authorization {{ token: right }}\nwebsocket {{ host: 127.0.0.1, port: {port}, {more} }}");
        let _server = Server::start(nats_server(), "jetstream", &configuration);
        let url = format!("{scheme}://127.0.0.1:{port}");
        let authorization = serde_json::json!({"token": "right", "rootCA": authority.pem});
        let connection = parsed(&url, authorization);
        let server = &connection.servers[0];
        let (client, link) = server.connect().await.unwrap_or_else(|error| panic!("{scheme}: {error:?}"));
        Nats::new(client, url.clone(), link, None).streams().await.unwrap();
        let wrong = lets_in(&parsed(&url, serde_json::json!({"token": "wrong", "rootCA": authority.pem}))).await;
        assert!(wrong.expect_err("a wrong token").contains("refused the token"), "{scheme}");
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn streams_of_another_domain_are_read_through_its_prefix() {
    let server = Server::start(nats_server(), "plain", "jetstream { domain: hub, store_dir: FOLDER/js }");
    let domain = |name: &str| Files { domain: Some(name.to_owned()), ..Files::default() };
    let streams = async |name: &str| {
        let connection = with(&server.url(), domain(name)).unwrap();
        let server = &connection.servers[0];
        let (client, link) = server.connect().await.unwrap();
        Nats::new(client, server.url.clone(), link, server.domain.as_deref()).streams().await
    };
    streams("hub").await.unwrap();
    assert!(streams("spoke").await.is_err(), "there is no such domain");
}
