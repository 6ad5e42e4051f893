//! Twenty triggers as a new user writes them, in `tests/triggers/`: linted, rendered, and in force on a real API server. An
//! honest event is never refused, a Job runs once, and each trigger does what its file says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, eventually, run, story};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const SUBJECT: &str = "things";

/// One file, its events, what it makes of them, and what is gone once the last ones came.
struct Case {
    file: &'static str,
    /// Source, subject, type and data of each.
    events: &'static [[&'static str; 4]],
    /// `VERSION KIND NAMESPACE/NAME`, and the fields that it must have, by pointer.
    makes: &'static [(&'static str, &'static [(&'static str, &'static str)])],
    /// Events that take something away, and what is gone then.
    ends: &'static [[&'static str; 4]],
    gone: &'static [&'static str],
}

#[rustfmt::skip]
const CASES: [Case; 20] = [
    Case {
        file: "tenant-onboarding",
        events: &[["crm/tenants", "acme", "tenant.created", r#"{"plan": "gold", "cpu": 4, "admins": ["ann", "1234"]}"#]],
        makes: &[
            ("v1 Namespace /tenant-acme", &[("/metadata/labels/plan", r#""gold""#)]),
            ("v1 ResourceQuota tenant-acme/quota", &[("/spec/hard", r#"{"pods": "100", "requests.cpu": "4"}"#)]),
            ("networking.k8s.io/v1 NetworkPolicy tenant-acme/isolated", &[]),
            ("rbac.authorization.k8s.io/v1 RoleBinding tenant-acme/admins", &[("/subjects/1/name", r#""1234""#)]),
        ],
        ends: &[["crm/tenants", "acme", "tenant.deleted", "{}"]],
        gone: &["networking.k8s.io/v1 NetworkPolicy tenant-acme/isolated"],
    },
    Case {
        file: "preview-environment",
        events: &[["git/pulls", "17", "pull", r#"{"action": "opened", "commit": "0123456789abcdef"}"#],
                  ["git/pulls", "17", "pull", r#"{"action": "synchronize", "commit": "1234567890abcdef", "replicas": 2}"#]],
        makes: &[
            ("v1 Namespace /pr-17", &[]),
            ("apps/v1 Deployment pr-17/web", &[
                ("/spec/replicas", "2"),
                ("/spec/template/spec/containers/0/image", r#""registry.example.com/web:1234567""#),
                ("/spec/template/metadata/labels/pr", r#""17""#),
                ("/spec/template/spec/containers/0/env/0/value", r#""1234567890abcdef""#),
            ]),
            ("v1 Service pr-17/web", &[("/spec/ports/0/targetPort", "8080")]),
        ],
        ends: &[["git/pulls", "17", "pull", r#"{"action": "closed"}"#]],
        gone: &["apps/v1 Deployment pr-17/web", "v1 Service pr-17/web"],
    },
    Case {
        file: "job-per-upload",
        events: &[["storage/uploads", "in/Report Final (2).pdf", "upload.finished", r#"{"bytes": 1000000}"#]],
        makes: &[("batch/v1 Job default/convert-a91da03d33e5", &[
            ("/spec/template/spec/containers/0/args", r#"["--in", "in/Report Final (2).pdf", "--bytes", "1000000"]"#),
        ])],
        ends: &[], gone: &[],
    },
    Case {
        file: "flag-configmap",
        events: &[["flags", "NEW_CHECKOUT", "flag.changed", r#"{"enabled": true, "percentage": 12.5, "since": "2026-11-22"}"#]],
        makes: &[("v1 ConfigMap default/flag-new-checkout", &[
            ("/data", r#"{"enabled": "true", "percentage": "12.5", "since": "2026-11-22"}"#),
        ])],
        ends: &[["flags", "NEW_CHECKOUT", "flag.deleted", "{}"]],
        gone: &["v1 ConfigMap default/flag-new-checkout"],
    },
    Case {
        file: "secret-per-customer",
        events: &[["crm/customers", "acme", "customer.created", r#"{"key": "007"}"#]],
        makes: &[("v1 Secret default/customer-acme", &[("/data/key", r#""MDA3""#), ("/data/raw", r#""MDA3""#)])],
        ends: &[["crm/customers", "acme", "customer.deleted", "{}"]],
        gone: &["v1 Secret default/customer-acme"],
    },
    Case {
        file: "roster",
        events: &[["directory/users", "zoe", "user.created", r#"{"mail": "zoe@example.com"}"#],
                  ["directory/users", "ann", "user.created", r#"{"mail": "ann@example.com"}"#]],
        makes: &[("v1 ConfigMap default/roster", &[
            ("/data", r#"{"users": "ann ann@example.com\nzoe zoe@example.com\n", "count": "2"}"#),
        ])],
        ends: &[["directory/users", "zoe", "user.deleted", "{}"], ["directory/users", "ann", "user.deleted", "{}"]],
        gone: &["v1 ConfigMap default/roster"],
    },
    Case {
        file: "tera-team",
        events: &[["hr/teams", "red", "team.created", r#"{"members": [{"login": "ann", "room": 12}, {"login": "bob", "room": "1.10"}]}"#]],
        makes: &[
            ("v1 Namespace /team-red", &[]),
            ("v1 ServiceAccount team-red/ann", &[("/metadata/annotations/example.com~1room", r#""12""#)]),
            ("v1 ServiceAccount team-red/bob", &[("/metadata/annotations/example.com~1room", r#""1.10""#)]),
        ],
        ends: &[["hr/teams", "red", "team.deleted", "{}"]],
        gone: &["v1 ServiceAccount team-red/ann", "v1 ServiceAccount team-red/bob"],
    },
    Case {
        file: "patched",
        events: &[["shops", "lisbon", "shop.created", r#"{"currency": "EUR"}"#]],
        makes: &[("v1 ConfigMap default/shop-lisbon", &[
            ("/data", r#"{"currency": "EUR"}"#), ("/metadata/labels/cluster", r#""mgmt""#),
        ])],
        ends: &[["shops", "lisbon", "shop.deleted", "{}"]],
        gone: &["v1 ConfigMap default/shop-lisbon"],
    },
    Case {
        file: "generator",
        events: &[["factory/devices", "d1", "device.added", r#"{"topics": ["a", "b"]}"#]],
        makes: &[("v1 ConfigMap projectsveltos/device-d1", &[
            ("/data/device.toml", r#""[device]\nid = \"d1\"\ntopics = [\"a\",\"b\"]\n""#),
        ])],
        ends: &[["factory/devices", "d1", "device.deleted", "{}"]],
        gone: &["v1 ConfigMap projectsveltos/device-d1"],
    },
    Case {
        file: "plan-sizes",
        events: &[["shop/databases", "main", "database.created", r#"{"size": "large"}"#]],
        makes: &[("v1 PersistentVolumeClaim default/db-main", &[("/spec/resources/requests/storage", r#""100Gi""#)])],
        ends: &[], gone: &[],
    },
    Case {
        file: "cron-report",
        events: &[["reports", "weekly", "report.created", r#"{"schedule": "0 6 * * 1", "settings": {"lang": "no", "pages": 10}}"#]],
        makes: &[("batch/v1 CronJob default/report-weekly", &[
            ("/spec/schedule", r#""0 6 * * 1""#),
            ("/spec/suspend", "false"),
            ("/spec/jobTemplate/spec/template/spec/containers/0/env", r#"[{"name": "LANG", "value": "no"}, {"name": "PAGES", "value": "10"}]"#),
        ])],
        ends: &[["reports", "weekly", "report.deleted", "{}"]],
        gone: &["batch/v1 CronJob default/report-weekly"],
    },
    Case {
        file: "bot-account",
        events: &[["ci/bots", "builder", "bot.created", r#"{"may": [{"group": "", "resources": ["pods", "pods/log"]}, {"group": "apps", "resources": ["deployments"]}]}"#]],
        makes: &[
            ("v1 ServiceAccount default/builder", &[]),
            ("rbac.authorization.k8s.io/v1 Role default/bot:builder", &[("/rules/0/resources", r#"["pods", "pods/log"]"#), ("/rules/1/apiGroups", r#"["apps"]"#)]),
            ("rbac.authorization.k8s.io/v1 RoleBinding default/bot:builder", &[]),
        ],
        ends: &[["ci/bots", "builder", "bot.deleted", "{}"]],
        gone: &["v1 ServiceAccount default/builder", "rbac.authorization.k8s.io/v1 Role default/bot:builder"],
    },
    Case {
        file: "autoscaler",
        events: &[["ops/limits", "web", "limits.set", r#"{"min": 2, "max": 10, "available": "50%"}"#],
                  ["ops/limits", "api", "limits.set", r#"{"min": 3, "max": 1, "available": 1}"#]],
        makes: &[
            ("autoscaling/v2 HorizontalPodAutoscaler default/web", &[("/spec/minReplicas", "2"), ("/spec/maxReplicas", "10")]),
            ("policy/v1 PodDisruptionBudget default/web", &[("/spec/minAvailable", r#""50%""#)]),
            ("autoscaling/v2 HorizontalPodAutoscaler default/api", &[("/spec/maxReplicas", "3")]),
            ("policy/v1 PodDisruptionBudget default/api", &[("/spec/minAvailable", "1")]),
        ],
        ends: &[["ops/limits", "api", "limits.deleted", "{}"]],
        gone: &["policy/v1 PodDisruptionBudget default/api"],
    },
    Case {
        file: "labelled",
        events: &[["assets", "a1", "asset.bought", r#"{"owner": "ann", "price": "12.50", "note": "line 1\nline 2: {x}"}"#]],
        makes: &[("v1 ConfigMap default/asset-a1", &[
            ("/data", r#"{"owner": "ann", "price": "12.50", "note": "line 1\nline 2: {x}"}"#),
            ("/metadata/labels/owner", r#""ann""#), ("/metadata/labels/cost-centre", r#""4711""#),
            ("/metadata/annotations/example.com~1ticket", r#""10001""#),
        ])],
        ends: &[["assets", "a1", "asset.deleted", "{}"]],
        gone: &["v1 ConfigMap default/asset-a1"],
    },
    Case {
        file: "guarded",
        events: &[["firewall/rules", "edge", "rules.set", r#"{"allow": ["10.0.0.0/8", "192.168.0.0/16"]}"#]],
        makes: &[("v1 ConfigMap default/firewall-edge", &[("/data/allow", r#""10.0.0.0/8\n192.168.0.0/16\n""#)])],
        ends: &[["firewall/rules", "edge", "rules.deleted", "{}"]],
        gone: &["v1 ConfigMap default/firewall-edge"],
    },
    Case {
        file: "kept",
        events: &[["archives", "y2026", "archive.created", r#"{"gib": 20}"#]],
        makes: &[("v1 PersistentVolumeClaim default/archive-y2026", &[("/spec/resources/requests/storage", r#""20Gi""#)])],
        ends: &[], gone: &[],
    },
    Case {
        file: "external-service",
        events: &[["dns/records", "db.internal", "record.set", r#"{"target": "db.example.com"}"#],
                  ["dns/records", "none", "record.set", "{}"]],
        makes: &[("v1 Service default/db-internal", &[("/spec/externalName", r#""db.example.com""#)])],
        ends: &[["dns/records", "db.internal", "record.deleted", "{}"]],
        gone: &["v1 Service default/db-internal"],
    },
    Case {
        file: "ingress-per-domain",
        events: &[["web/domains", "shop.example.com", "domain.added", r#"{"paths": {"/": "web", "/api": "api"}}"#]],
        makes: &[("networking.k8s.io/v1 Ingress default/shop.example.com", &[
            ("/spec/tls/0/secretName", r#""shop-example-com-tls""#),
            ("/spec/rules/0/http/paths/1/backend/service/name", r#""api""#),
            ("/metadata/annotations/example.com~1redirect", r#""none""#),
        ])],
        ends: &[["web/domains", "shop.example.com", "domain.deleted", "{}"]],
        gone: &["networking.k8s.io/v1 Ingress default/shop.example.com"],
    },
    Case {
        file: "peers",
        events: &[["mesh/peers", "m", "mesh.changed", r#"{"hosts": [{"name": "a", "port": 1}, {"name": "b", "port": 2}, {"name": "c", "port": 3}]}"#],
                  ["mesh/peers", "m", "mesh.changed", r#"{"hosts": [{"name": "a", "port": 1}, {"name": "b", "port": 22}]}"#]],
        makes: &[
            ("v1 ConfigMap default/peer-m-0", &[("/data", r#"{"host": "a", "port": "1"}"#)]),
            ("v1 ConfigMap default/peer-m-1", &[("/data", r#"{"host": "b", "port": "22"}"#)]),
        ],
        ends: &[["mesh/peers", "m", "mesh.deleted", "{}"]],
        gone: &["v1 ConfigMap default/peer-m-0", "v1 ConfigMap default/peer-m-1", "v1 ConfigMap default/peer-m-2"],
    },
    Case {
        file: "maintenance",
        // Of one banner both would want the object, and the first would wait for it: here they are two.
        events: &[["site/banner", "blog", "banner.set", r#"{"text": "welcome"}"#],
                  ["site/maintenance", "shop", "maintenance", r#"{"state": "begins", "until": "10:00"}"#],
                  ["site/maintenance", "shop", "maintenance", r#"{"state": "planned"}"#]],
        makes: &[
            ("v1 ConfigMap default/banner-blog", &[("/data/text", r#""welcome""#)]),
            ("v1 ConfigMap default/banner-shop", &[("/data/text", r#""back at 10:00""#)]),
        ],
        ends: &[], gone: &[],
    },
];

fn main() -> ExitCode {
    run(vec![
        story("twenty_triggers_are_linted_and_rendered_without_a_complaint", &[], told),
        story("twenty_triggers_do_what_they_say", &[Nats, ControlPlane], done),
    ])
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("triggers")
}

fn event([source, subject, kind, data]: &[&str; 4]) -> Result<Event, Failure> {
    Ok(Event::of(source, subject, kind).data(serde_json::from_str(data)?))
}

async fn told(scene: &Scene) -> Outcome {
    let folder = folder();
    let labelled = ["--cluster-label", "env=production"];
    let linted = Lifeline::exit_of(&[&["lint", "--strict", &folder.to_string_lossy()], &labelled[..]].concat())?;
    assert_eq!(linted.0, Some(0), "{}", linted.1);
    assert!(linted.1.contains("20 files"), "{}", linted.1);
    let mut wrong = Vec::new();
    for case in &CASES {
        let rules = folder.join(format!("{}.yaml", case.file)).to_string_lossy().into_owned();
        for (number, written) in case.events.iter().chain(case.ends).enumerate() {
            let bytes = bytes::Bytes::from(event(written)?);
            let file = scene.write(&format!("{}-{number}.json", case.file), &String::from_utf8(bytes.to_vec())?)?;
            let file = file.to_string_lossy();
            let asked = ["render", "-f", &rules, "--event", &file];
            let (code, text) = Lifeline::exit_of(&[&asked, &labelled[..]].concat())?;
            if code != Some(0) || text.contains("warning: ") || text.contains("\\n") {
                wrong.push(format!("{} of {written:?}: {code:?}\n{text}", case.file));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The API of an object that is written as `VERSION KIND NAMESPACE/NAME`, and its name.
fn api(kubernetes: &Kubernetes, object: &str) -> Result<(Api<DynamicObject>, String), Failure> {
    let mut words = object.splitn(3, ' ');
    let mut word = || words.next().ok_or_else(|| Failure::from(format!("`{object}` is cut")));
    let (version, kind, place) = (word()?, word()?, word()?);
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let (namespace, name) = place.split_once('/').ok_or("no place")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api = match namespace {
        "" => Api::all_with(kubernetes.client(), &resource),
        namespace => Api::namespaced_with(kubernetes.client(), namespace, &resource),
    };
    Ok((api, name.to_owned()))
}

/// Waits until all objects of the table are there as they should be; their uids and versions.
async fn all_there(kubernetes: &Kubernetes) -> Result<BTreeMap<String, [String; 2]>, Failure> {
    let mut there = BTreeMap::new();
    for (object, fields) in CASES.iter().flat_map(|case| case.makes) {
        let (api, name) = api(kubernetes, object)?;
        let found = eventually(object, SOON, async || {
            let found = api.get(&name).await.map_err(|error| error.to_string())?;
            let whole = serde_json::to_value(&found).map_err(|error| error.to_string())?;
            for (pointer, value) in *fields {
                let wanted: Value = serde_json::from_str(value).map_err(|error| error.to_string())?;
                let there = whole.pointer(pointer).unwrap_or(&Value::Null);
                if *there != wanted {
                    return Err(format!("`{pointer}` is {there}, not {wanted}"));
                }
            }
            Ok(found)
        })
        .await?;
        let text = |text: Option<String>| text.unwrap_or_default();
        let generation = json!(found.metadata.generation).to_string();
        there.insert((*object).to_owned(), [text(found.metadata.uid), generation]);
    }
    Ok(there)
}

async fn done(scene: &Scene) -> Outcome {
    let mut rules = String::new();
    for case in &CASES {
        rules += &fs::read_to_string(folder().join(format!("{}.yaml", case.file)))?;
        rules += "\n---\n";
    }
    let nats = scene.nats("nats")?;
    let mut lifeline = scene.engine("engine", scene.control_plane(), &nats, SUBJECT, &rules)?;
    lifeline.wait_until_ready()?;
    let kubernetes = Kubernetes::of(scene.control_plane()).await?;
    let producer = Producer::connect(&nats, SUBJECT).await?;
    let publish = async |events: &[[&str; 4]]| -> Outcome {
        for written in events {
            producer.publish(event(written)?).await?;
        }
        Ok(())
    };
    for case in &CASES {
        publish(case.events).await?;
    }
    let there = all_there(&kubernetes).await?;
    lifeline.has_settled().await?;
    let failing = lifeline.ask(&["get", "lifecycles", "--phase", "Failing"])?;
    assert_eq!(failing["items"], json!([]), "{failing}");

    // What came twice, and what a restart decides, is done already: no Job runs again.
    for case in CASES.iter().filter(|case| ["job-per-upload", "bot-account", "guarded"].contains(&case.file)) {
        publish(case.events).await?;
    }
    lifeline.has_settled().await?;
    lifeline.kill();
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    lifeline.has_settled().await?;
    assert_eq!(all_there(&kubernetes).await?, there);

    for case in &CASES {
        publish(case.ends).await?;
    }
    for object in CASES.iter().flat_map(|case| case.gone) {
        let (api, name) = api(&kubernetes, object)?;
        // No controller runs there that would end a Namespace or a foreground deletion.
        eventually(&format!("{object} to be gone"), SOON, async || match api.get_opt(&name).await {
            Ok(None) => Ok(()),
            Ok(Some(found)) => Err(json!(found.metadata).to_string()),
            Err(error) => Err(error.to_string()),
        })
        .await?;
    }
    Ok(())
}
