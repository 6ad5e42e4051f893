//! Which kinds an API server serves, all of them in two requests (aggregated discovery, Kubernetes 1.27 and later).
//!
//! Start at `KubeCluster::served_kinds`. Reading an answer is pure.

use serde_json::Value;

use super::{KubeCluster, answer};
use crate::cluster::{Error, Kind, ObjectKey};

/// What is asked for, in the first form that the server knows.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// What a kind has to allow to hold objects of Lifeline, and for these to be listed.
const VERBS: [&str; 3] = ["list", "patch", "delete"];

impl KubeCluster {
    /// As [`crate::cluster::Cluster::kinds`].
    pub(super) async fn served_kinds(&self) -> Result<Vec<Kind>, Error> {
        let mut kinds = Vec::new();
        for path in ["/api", "/apis"] {
            let found = self.ask_for(None, "GET", path, ACCEPT, None).await?;
            if !found.is_success() {
                return Err(answer::refusal(&found, &ObjectKey::of_namespace("any")));
            }
            match read(&found.body) {
                Some(of_path) => kinds.extend(of_path),
                None => {
                    let message =
                        format!("{} does not list its kinds in one answer, as Kubernetes 1.27 does", self.name);
                    return Err(Error::Unavailable { message, retry_after: None, source: None });
                }
            }
        }
        Ok(kinds)
    }
}

/// The kinds of an APIGroupDiscoveryList; `None` where it is none.
fn read(list: &Value) -> Option<Vec<Kind>> {
    if list["kind"] != "APIGroupDiscoveryList" {
        return None;
    }
    let mut kinds = Vec::new();
    for group in list["items"].as_array().into_iter().flatten() {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        for version in group["versions"].as_array().into_iter().flatten() {
            let served = version["resources"].as_array().into_iter().flatten();
            let allows = |resource: &&Value| {
                let verbs = resource["verbs"].as_array();
                verbs.is_some_and(|verbs| VERBS.iter().all(|wanted| verbs.iter().any(|verb| verb == wanted)))
            };
            kinds.extend(served.filter(allows).filter_map(|resource| {
                Some(Kind {
                    group: name.to_owned(),
                    version: version["version"].as_str()?.to_owned(),
                    kind: resource["responseKind"]["kind"].as_str()?.to_owned(),
                })
            }));
        }
    }
    Some(kinds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_that_can_be_listed_and_applied_come_in_the_order_of_the_server() {
        let resource =
            |kind: &str, verbs: &[&str]| json!({"resource": "x", "responseKind": {"kind": kind}, "verbs": verbs});
        let all = ["create", "delete", "get", "list", "patch", "watch"];
        let list = json!({"kind": "APIGroupDiscoveryList", "items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [
                resource("Namespace", &all), resource("Binding", &["create"]),
            ]}]},
            {"metadata": {"name": "autoscaling"}, "versions": [
                {"version": "v2", "resources": [resource("HorizontalPodAutoscaler", &all)]},
                {"version": "v1", "resources": [resource("HorizontalPodAutoscaler", &all)]},
            ]},
        ]});
        let found: Vec<String> = read(&list)
            .expect("it is one")
            .into_iter()
            .map(|Kind { group, version, kind }| format!("{group}/{version} {kind}"))
            .collect();
        let expected =
            ["/v1 Namespace", "autoscaling/v2 HorizontalPodAutoscaler", "autoscaling/v1 HorizontalPodAutoscaler"];
        assert_eq!(found, expected);
        assert_eq!(read(&json!({"kind": "APIGroupList", "groups": []})), None);
    }
}
