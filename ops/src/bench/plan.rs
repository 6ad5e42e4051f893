//! How long does a plan take over many resources?
//!
//! Workload: a log of 200,000 CloudEvents over 100,000 resources, each with a lifecycle of one applied object. The
//! folder of that engine is asked what rules would do under which each object changes. `open_seconds` is the time to
//! fold the log before, which a running engine has behind it. Nothing is compared with a cluster.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use lifeline_engine::preview::Preview;
use serde_json::{Value, json};

use super::BenchArgs;
use super::history::write_log;
use crate::api::plan::{PATH, PlanOrder, PlanProgress, RuleText};
use crate::client::Client;

const EVENTS: u64 = 200_000;
const RESOURCES: u64 = 100_000;

const SOURCE: &str = "apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: bench}
spec: {messagingMatchCriteria: [{subject: bench.events}]}
";

const TRIGGER: &str = "---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: bench
  oneForEvent: true
  policyRefs: [{kind: ConfigMap, name: bench, namespace: default}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: bench, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  namespace.yaml: |
    apiVersion: v1
    kind: Namespace
    metadata: {name: \"{{ .CloudEvent.subject }}\"}
";

/// Plans, and gives the figures.
pub fn run(args: &BenchArgs) -> Result<Value, Box<dyn Error>> {
    let folder = match &args.data {
        Some(data) => tempfile::tempdir_in(data)?,
        None => tempfile::tempdir()?,
    };
    let events = args.events.unwrap_or(EVENTS);
    let resources = RESOURCES.min(events);
    eprintln!("writing a log of {events} events over {resources} resources");
    write_log(folder.path(), events, resources, 1)?;
    let began = Instant::now();
    let client = open(folder.path())?;
    let open_seconds = began.elapsed().as_secs_f64();
    let (changed, plan_seconds) = plan(&client, &format!("{SOURCE}{TRIGGER}"))?;
    assert_eq!(changed.counts.update, resources, "{:?}", changed.counts);
    Ok(json!({
        "bench": "plan", "resources": resources, "events": events, "open_seconds": open_seconds,
        "plan_seconds": plan_seconds, "changes_a_second": resources as f64 / plan_seconds,
    }))
}

fn open(data: &Path) -> Result<Client, Box<dyn Error>> {
    Ok(Client::open(Some(data), "")?)
}

fn plan(client: &Client, text: &str) -> Result<(Preview, f64), Box<dyn Error>> {
    let rules = vec![RuleText { name: "rules.yaml".to_owned(), text: text.to_owned() }];
    let order = PlanOrder { rules, merge: false, cluster_labels: Default::default(), changes: 1_000, looks: 0 };
    let began = Instant::now();
    let preview = client.post_and_look(PATH, &order, |now: PlanProgress| {
        eprintln!("{} {} of {}", now.step.unwrap_or_default(), now.done, now.of);
    })?;
    Ok((preview, began.elapsed().as_secs_f64()))
}
