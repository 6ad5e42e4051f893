//! Kubernetes: whether it answers, which release, its clock, our definitions, and each right that an engine uses.
//!
//! Start at [`examine`]. Rights are asked for by SelfSubjectAccessReviews, which the API server answers and does not keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http_body_util::BodyExt;
use jiff::fmt::rfc2822;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::client::Body;
use kube::{Api, Client};
use lifeline_engine::cluster::Account;
use lifeline_engine::cluster::kube::KubeCluster;
use serde_json::Value;

use super::definitions::{self, GROUP_VERSION};
use super::rules::{Kind, Needs};
use super::{Finding, certificates, clock};
use crate::settings::{Auth, Config};

/// The oldest release whose server-side apply and field management the tests rely on.
const MINOR_MIN: u64 = 29;

/// The verbs that objects of triggers need.
const OBJECT_VERBS: [&str; 4] = ["get", "create", "patch", "delete"];

/// Looks at the cluster, and at the rights for the kinds that the rules make.
pub(super) async fn examine(config: &Config, cluster: &Arc<KubeCluster>, needs: &Needs) -> Vec<Finding> {
    let mut found = certificates_of(config).await;
    let client = cluster.client();
    let asked = clock::now_millis();
    match cluster.version().await {
        Ok(version) => found.push(release(&version)),
        Err(error) => {
            found.push(Finding::of_error("kubernetes", &error));
            return found;
        }
    }
    if let Some(finding) = time(client, asked).await {
        found.push(finding);
    }
    let from_cluster = config.rules.is_empty();
    if from_cluster {
        let path = format!("/openapi/v3/apis/{GROUP_VERSION}");
        found.extend(match get(client, &path).await {
            Ok((200, described)) => definitions::compare(Some(&described)),
            Ok((404, _)) => definitions::compare(None),
            Ok((code, _)) => vec![unreadable(&format!("the API server answered {code}"))],
            Err(why) => vec![unreadable(&why)],
        });
    }
    found.extend(own_rights(config, client, from_cluster).await);
    found.extend(object_rights(client, &needs.kinds).await);
    found.extend(account_rights(client, &needs.accounts).await);
    found
}

fn unreadable(why: &str) -> Finding {
    Finding::skipped("definitions", why, "compare `lifeline crds` with the cluster's by hand")
}

fn release(version: &str) -> Finding {
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u64>().ok());
    let found = format!("answers, {version}");
    match minor {
        Some(minor) if minor < MINOR_MIN => Finding::warning(
            "kubernetes",
            found,
            format!("upgrade to 1.{MINOR_MIN} or later; older ones are not tested"),
        ),
        _ => Finding::ok("kubernetes", found),
    }
}

/// What the kubeconfig shows, and whom it trusts.
async fn certificates_of(config: &Config) -> Vec<Finding> {
    use kube::config::{KubeConfigOptions, Kubeconfig};
    let loaded = match &config.kubeconfig {
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(read) => kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.ok(),
            Err(_) => None,
        },
        None => kube::Config::infer().await.ok(),
    };
    let Some(loaded) = loaded else { return Vec::new() };
    let mut found = Vec::new();
    let shown = &loaded.auth_info;
    let inline = shown.client_certificate_data.as_ref().and_then(|text| decoded(text));
    let pem = inline.or_else(|| shown.client_certificate.as_ref().and_then(|path| std::fs::read(path).ok()));
    if let Some(pem) = pem {
        found.extend(certificates::of_pem("kubernetes client certificate", &pem));
    }
    for der in loaded.root_cert.into_iter().flatten() {
        found.push(certificates::judge("kubernetes authority", &der, jiff::Timestamp::now()));
    }
    found
}

/// A kubeconfig holds PEM in base64.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let json = serde_json::json!(text.split_whitespace().collect::<String>());
    serde_json::from_value::<k8s_openapi::ByteString>(json).ok().map(|bytes| bytes.0)
}

/// The clock of the API server, as the head of an answer has it: in whole seconds.
async fn time(client: &Client, asked: i64) -> Option<Finding> {
    let request = http_request("/version")?;
    let response = client.send(request).await.ok()?;
    let date = response.headers().get("date")?.to_str().ok()?;
    let theirs = rfc2822::parse(date).ok()?.timestamp().as_millisecond();
    Some(clock::judge("clock of kubernetes", theirs, asked, clock::now_millis(), 1_000))
}

fn http_request(path: &str) -> Option<axum::http::Request<Body>> {
    axum::http::Request::get(path).body(Body::empty()).ok()
}

async fn get(client: &Client, path: &str) -> Result<(u16, Value), String> {
    let request = http_request(path).ok_or("no request")?;
    let response = client.send(request).await.map_err(|error| error.to_string())?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((code, serde_json::from_slice(&bytes).unwrap_or_default()))
}

/// A right: group, resource, subresource, namespace, verbs, and what for.
struct Right {
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    namespace: &'static str,
    name: &'static str,
    verbs: &'static [&'static str],
    what: &'static str,
}

async fn own_rights(config: &Config, client: &Client, from_cluster: bool) -> Vec<Finding> {
    let right =
        |group, resource, verbs, what| Right { group, resource, subresource: "", namespace: "", name: "", verbs, what };
    let mut rights = Vec::new();
    if from_cluster {
        let ours = "lib.projectsveltos.io";
        for resource in ["eventsources", "eventtriggers"] {
            rights.push(right(ours, resource, &["list", "watch"], "the rules"));
            rights
                .push(Right { subresource: "status", ..right(ours, resource, &["patch"], "what became of the rules") });
        }
        rights.push(right("events.k8s.io", "events", &["create"], "what became of the rules"));
        rights.push(right("", "configmaps", &["list", "watch"], "what triggers reference"));
        rights.push(right("", "secrets", &["list", "watch"], "what triggers reference"));
    }
    if config.nats.is_none() {
        let secret = right("", "secrets", &["get"], "the connection to NATS");
        rights.push(Right { namespace: "projectsveltos", name: "sveltos-nats", ..secret });
    }
    if config.auth == Auth::Kubernetes {
        rights.push(right("authentication.k8s.io", "tokenreviews", &["create"], "who asks over HTTP"));
        rights.push(right("authorization.k8s.io", "subjectaccessreviews", &["create"], "what they may"));
    }
    let mut found = Vec::new();
    for right in rights {
        let slash = if right.subresource.is_empty() { "" } else { "/" };
        let check = format!("right to {}{slash}{}", right.resource, right.subresource);
        let attributes = |verb: &str| ResourceAttributes {
            group: Some(right.group.to_owned()),
            resource: Some(right.resource.to_owned()),
            subresource: Some(right.subresource.to_owned()).filter(|name| !name.is_empty()),
            namespace: Some(right.namespace.to_owned()).filter(|name| !name.is_empty()),
            name: Some(right.name.to_owned()).filter(|name| !name.is_empty()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let remedy =
            format!("needed for {}: bind the ClusterRole of the chart (ops/chart/templates/rbac.yaml)", right.what);
        found.push(review(client, check, right.verbs, attributes, remedy).await);
    }
    found
}

/// Every kind that the rules make, by its plural, which the cluster knows.
async fn object_rights(client: &Client, kinds: &BTreeSet<Kind>) -> Vec<Finding> {
    let mut served: BTreeMap<String, Value> = BTreeMap::new();
    let mut found = Vec::new();
    for (version, kind) in kinds {
        let check = format!("right to {kind}");
        if !served.contains_key(version) {
            let path = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
            match get(client, &path).await {
                Ok((200, list)) => _ = served.insert(version.clone(), list),
                Ok((404, _)) => _ = served.insert(version.clone(), Value::Null),
                Ok((code, _)) => {
                    found.push(Finding::skipped(
                        check,
                        format!("{path} is answered by {code}"),
                        "check the right by hand",
                    ));
                    continue;
                }
                Err(why) => {
                    found.push(Finding::skipped(check, why, "check the right by hand"));
                    continue;
                }
            }
        }
        let resources = served[version]["resources"].as_array();
        let resource = resources.into_iter().flatten().find(|resource| {
            resource["kind"] == kind.as_str() && !resource["name"].as_str().unwrap_or("/").contains('/')
        });
        let Some(plural) = resource.and_then(|resource| resource["name"].as_str()) else {
            let remedy = "install its CustomResourceDefinition, or correct `apiVersion` and `kind` in the rule";
            found.push(Finding::failed(check, format!("the cluster does not know `{kind}` of `{version}`"), remedy));
            continue;
        };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let attributes = |verb: &str| ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(plural.to_owned()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let remedy = format!(
            "add to `rbac.objects.rules` of the chart: {{apiGroups: [{group:?}], resources: [{plural}], verbs: [get, create, patch, \
             delete]}}"
        );
        found.push(review(client, check, &OBJECT_VERBS, attributes, remedy).await);
    }
    found
}

/// Every service account that a trigger names. What it may do itself is for who made it.
async fn account_rights(client: &Client, accounts: &BTreeSet<Account>) -> Vec<Finding> {
    let mut found = Vec::new();
    for Account { namespace, name } in accounts {
        let attributes = |verb: &str| ResourceAttributes {
            group: Some(String::new()),
            resource: Some("serviceaccounts".to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let remedy = format!("add to `rbac.impersonate` of the chart: {{namespace: {namespace}, names: [{name}]}}");
        let check = format!("right to act as {namespace}/{name}");
        found.push(review(client, check, &["impersonate"], attributes, remedy).await);
    }
    found
}

async fn review(
    client: &Client,
    check: String,
    verbs: &[&str],
    attributes: impl Fn(&str) -> ResourceAttributes,
    remedy: String,
) -> Finding {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut denied = Vec::new();
    for verb in verbs {
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes(verb)),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        match reviews.create(&PostParams::default(), &review).await {
            Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => denied.push(*verb),
            Err(error) => return Finding::skipped(check, error.to_string(), "ask with `kubectl auth can-i`"),
        }
    }
    match denied.as_slice() {
        [] => Finding::ok(check, format!("may {}", verbs.join(", "))),
        denied => Finding::failed(check, format!("may not {}", denied.join(", ")), remedy),
    }
}
