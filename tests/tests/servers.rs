//! The servers of the harness do what the other tests rely on. Also the pattern for every test that needs servers:
//! an `async fn` that is given a scene, named in `main` with what it needs.

use std::process::ExitCode;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use lifeline_ops::servers::NatsAccess;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{Failure, Outcome, Scene, User, eventually, run, story};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    run(vec![
        story("nats_server_restarts_on_its_port_and_keeps_its_stream", &[Nats], restarted_nats),
        story("nats_server_refuses_a_wrong_password", &[Nats], wrong_password),
        story("a_frozen_nats_server_answers_again_once_it_thaws", &[Nats], frozen_nats),
        story("a_namespace_can_be_created_and_finishes_terminating", &[ControlPlane], terminated_namespace),
        story("users_may_do_nothing_until_a_role_is_bound", &[ControlPlane], restricted_user),
        story("every_write_is_in_the_audit_log", &[ControlPlane], audited_write),
        story("a_killed_api_server_comes_back_with_what_it_stored", &[ControlPlane], restarted_api_server),
    ])
}

async fn restarted_nats(scene: &Scene) -> Outcome {
    let mut server = scene.nats("nats")?;
    let url = server.url();
    let jetstream = jetstream::new(async_nats::connect(&url).await?);
    let config = stream::Config { name: "USERS".to_owned(), subjects: vec!["users".to_owned()], ..Default::default() };
    jetstream.create_stream(config).await?;
    jetstream.publish("users", "login".into()).await?.await?;

    server.kill();
    assert!(async_nats::connect(&url).await.is_err(), "a killed server takes no connection");
    server.restart()?;
    assert_eq!(server.url(), url);

    let jetstream = jetstream::new(async_nats::connect(&url).await?);
    let message = jetstream.get_stream("USERS").await?.get_raw_message(1).await?;
    assert_eq!(message.payload, "login");
    Ok(())
}

async fn wrong_password(scene: &Scene) -> Outcome {
    let access = NatsAccess::User { user: "admin".to_owned(), password: "se\"cret\\".to_owned() };
    let server = scene.nats_with("nats", access, "")?;
    let connect = |password: &str| {
        let options = async_nats::ConnectOptions::with_user_and_password("admin".to_owned(), password.to_owned());
        options.connect(server.url())
    };
    assert!(connect("se\"cret\\").await.is_ok());
    let error = connect("guess").await.expect_err("a wrong password is refused");
    assert_eq!(error.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
    Ok(())
}

async fn frozen_nats(scene: &Scene) -> Outcome {
    let mut server = scene.nats("nats")?;
    let client = async_nats::connect(server.url()).await?;
    client.flush().await?;
    server.freeze();
    let unanswered = tokio::time::timeout(Duration::from_millis(200), async_nats::connect(server.url())).await;
    assert!(unanswered.is_err(), "a frozen server lets a client wait");
    server.thaw();
    eventually("the server to answer", SOON, async || async_nats::connect(server.url()).await).await?;
    Ok(())
}

async fn terminated_namespace(scene: &Scene) -> Outcome {
    let client = scene.control_plane().client(User::Admin).await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let name = "servers-terminated";
    namespaces.create(&PostParams::default(), &namespace(name)?).await?;
    // What is in a namespace goes with it.
    let config_maps: Api<ConfigMap> = Api::namespaced(client, name);
    let config_map = serde_json::from_value(json!({"metadata": {"name": "inside"}, "data": {"key": "value"}}))?;
    config_maps.create(&PostParams::default(), &config_map).await?;

    namespaces.delete(name, &DeleteParams::default()).await?;
    eventually("the namespace to be gone", SOON, async || match namespaces.get_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(namespace)) => Err(format!("{:?}", namespace.status)),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    assert!(config_maps.get_opt("inside").await?.is_none());
    Ok(())
}

async fn restricted_user(scene: &Scene) -> Outcome {
    for user in [User::Engine, User::Viewer] {
        let namespaces: Api<Namespace> = Api::all(scene.control_plane().client(user).await?);
        match namespaces.list(&Default::default()).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            other => return Err(format!("`{}` was not refused: {other:?}", user.name()).into()),
        }
    }
    Ok(())
}

async fn audited_write(scene: &Scene) -> Outcome {
    let control_plane = scene.control_plane();
    let namespaces: Api<Namespace> = Api::all(control_plane.client(User::Admin).await?);
    let name = "servers-audited";
    namespaces.create(&PostParams::default(), &namespace(name)?).await?;
    namespaces.get(name).await?;
    namespaces.delete(name, &DeleteParams::default()).await?;
    eventually("both writes in the log", SOON, async || {
        let writes = control_plane.writes().map_err(|failure| failure.to_string())?;
        let verbs: Vec<_> = writes
            .iter()
            .filter(|write| write.name == name && write.user == "admin" && write.subresource.is_empty())
            .map(|write| (write.verb.as_str(), write.resource.as_str(), write.status))
            .collect();
        match verbs[..] {
            [("create", "namespaces", 201), ("delete", "namespaces", 200), ..] => Ok(()),
            _ => Err(format!("{verbs:?}")),
        }
    })
    .await
}

async fn restarted_api_server(scene: &Scene) -> Outcome {
    let mut control_plane = scene.fresh_control_plane()?;
    let namespaces: Api<Namespace> = Api::all(control_plane.client(User::Admin).await?);
    let made = namespaces.create(&PostParams::default(), &namespace("kept")?).await?;
    control_plane.kill_api_server();
    assert!(namespaces.get("kept").await.is_err(), "a killed API server answers nothing");
    control_plane.restart_api_server()?;
    let found = namespaces.get("kept").await?;
    assert_eq!(found.metadata.uid, made.metadata.uid);
    Ok(())
}

fn namespace(name: &str) -> Result<Namespace, Failure> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}}))?)
}
