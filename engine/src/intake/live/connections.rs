//! Getting in: passwords, tokens, certificates, and servers that are not what they should be.

use super::*;

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_wrong_password_is_told_with_user_and_field() {
    let program = nats_server();
    let server = Server::start(program, "jetstream", "authorization { user: admin, password: right }");
    let json = |password: &str| {
        format!(
            r#"{{"nats":{{"configuration":{{"url":"{}","subjects":["s"],
               "authorization":{{"user":{{"user":"admin","password":"{password}"}}}}}}}}}}"#,
            server.url()
        )
    };
    let refused = Connection::parse(&json("wrong"), "conf.json").unwrap().servers[0].connect().await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "NATS at {} refused the user `admin`: authorization violation\n\
             hint: check `nats.configuration.authorization` in conf.json",
            server.url()
        )
    );
    Connection::parse(&json("right"), "conf.json").unwrap().servers[0].connect().await.unwrap();
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_token_lets_us_in() {
    let program = nats_server();
    let server = Server::start(program, "jetstream", "authorization { token: right }");
    let json = |token: &str| {
        format!(
            r#"{{"nats":{{"configuration":{{"url":"{}","subjects":["s"],"authorization":{{"token":"{token}"}}}}}}}}"#,
            server.url()
        )
    };
    let refused = Connection::parse(&json("wrong"), "conf.json").unwrap().servers[0].connect().await.unwrap_err();
    assert!(refused.to_string().contains("refused the token"), "{refused}");
    Connection::parse(&json("right"), "conf.json").unwrap().servers[0].connect().await.unwrap();
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_server_without_jetstream_is_told_apart() {
    let program = nats_server();
    let server = Server::start(program, "plain", "");
    let connection = Connection::from_url(&server.url(), "test", &[]).unwrap();
    let (client, link) = connection.servers[0].connect().await.unwrap();
    let error = Nats::new(client, server.url(), link, None).streams().await.unwrap_err();
    assert!(matches!(error, super::super::Error::NoJetStream { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn certificates_work_both_ways_and_a_strange_one_is_a_matter_of_tls() {
    let program = nats_server();
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("ca.pem", &authority.pem), ("cert.pem", &certificate), ("key.pem", &key)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let tls = "tls { cert_file: DIR/cert.pem, key_file: DIR/key.pem, ca_file: DIR/ca.pem, verify: true }"
        .replace("DIR", folder.path().to_str().unwrap());
    let server = Server::start(program, "jetstream", &tls);
    let encoded = data_encoding::BASE64.encode(authority.pem.as_bytes());
    let strange = Authority::new().pem;
    for (root, fine) in [(&authority.pem, true), (&encoded, true), (&strange, false)] {
        let json = serde_json::json!({"nats": {"configuration": {
            "url": server.url(), "subjects": ["s"],
            "authorization": {"rootCA": root, "clientCert": {"certPem": certificate, "keyPem": key}},
        }}});
        let outcome = Connection::parse(&json.to_string(), "conf.json").unwrap().servers[0].connect().await;
        match outcome {
            Ok(_) => assert!(fine),
            Err(error) => {
                assert!(!fine, "{}", crate::error_text::one_line(&error));
                assert!(matches!(error, super::super::Error::Tls { .. }), "{error:?}");
            }
        }
    }
}

/// A certificate authority for one test.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Authority {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: rcgen::Issuer::new(parameters, key) }
    }

    /// A certificate for 127.0.0.1, good for server and client, and its key.
    pub(super) fn issue(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_right_that_is_taken_away_and_given_back_does_not_end_intake() {
    let user = |denied: &str| {
        format!(
            "authorization {{ users: [{{user: u, password: p, permissions: {{subscribe: {{deny: [{denied}]}}}}}}] }}\n\
             no_auth_user: u"
        )
    };
    let mut world = World::with(&["s"], &user("\"nothing\"")).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..10).await;
    world.recorded(10).await;
    world.server.reload(&user("\"_INBOX.>\""));
    tokio::time::sleep(Duration::from_secs(12)).await;
    world.server.reload(&user("\"nothing\""));
    // Without waiting for an acknowledgement: the inbox of this client is gone as well.
    for payload in 10..20 {
        world.client.publish("s", payload.to_string().into()).await.unwrap();
    }
    world.client.flush().await.unwrap();
    world.recorded(20).await;
    assert_eq!(world.payloads(), numbers(0..20));
}

#[tokio::test]
#[ignore = "needs LIFELINE_NATS_SERVER: a real nats-server"]
async fn a_right_to_acknowledge_that_is_missing_is_shown() {
    let denied = "authorization { users: [{user: u, password: p, permissions: {publish: {deny: [\"$JS.ACK.>\"]}}}] }\n\
                  no_auth_user: u";
    let mut world = World::with(&["s"], denied).await;
    world.create("S", &["s"], Config::default()).await;
    world.run().await;
    world.publish("s", 0..3).await;
    world.recorded(3).await;
    let status = world.running.as_ref().expect("it runs").status.clone();
    world
        .eventually("a warning", |_| status.borrow().warnings.iter().any(|warning| warning.contains("$JS.ACK.S")))
        .await;
}
