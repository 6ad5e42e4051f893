//! Whose objects are, and in which order they come and go: definitions and Namespaces, fields that can never change,
//! tiers, and those who deny.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use k8s_openapi::ByteString;
use lifeline_ops::tls::Files;
use lifeline_ops::tls::server::Identity;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// What takes up to a minute: the longest pause between attempts.
const LATER: Duration = Duration::from_secs(90);

impl Stage {
    async fn kubernetes(scene: &Scene) -> Result<Kubernetes, Failure> {
        Kubernetes::of(scene.control_plane()).await
    }

    /// Waits until the lifecycle of a subject fails with these words.
    async fn fails(&self, subject: &str, words: &[&str]) -> Outcome {
        eventually(&format!("`{subject}` to fail with {words:?}"), SOON, async || {
            let rows = self.lifeline.ask(&["get", "lifecycles", "--subject", subject]);
            let rows = rows.map_err(|failure| failure.to_string())?;
            let said = |row: &Value| {
                let error = row["error"].as_str().unwrap_or_default();
                row["phase"] == "Failing" && words.iter().all(|word| error.contains(word))
            };
            let is_said = rows["items"].as_array().into_iter().flatten().any(said);
            if is_said { Ok(()) } else { Err(rows["items"].to_string()) }
        })
        .await
    }

    async fn becomes(&self, subject: &str, trigger: &str, phase: &str) -> Outcome {
        eventually(&format!("`{subject}` of `{trigger}` to be {phase}"), LATER, async || {
            let rows = self.lifeline.ask(&["get", "lifecycles", "--subject", subject, "--trigger", trigger]);
            let row = rows.map_err(|failure| failure.to_string())?["items"][0].clone();
            if row["phase"] == phase { Ok(()) } else { Err(row.to_string()) }
        })
        .await
    }
}

/// The definition comes last and the Namespace not at all: neither the order nor a missing Namespace is the author's care.
pub async fn order(scene: &Scene) -> Outcome {
    let template = r#"apiVersion: order.example.com/v1
kind: Thing
metadata: {name: "order-{{ .CloudEvent.subject }}", namespace: "order-{{ .CloudEvent.subject }}"}
spec: {size: 1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: held, namespace: "order-{{ .CloudEvent.subject }}"}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.order.example.com}
spec:
  group: order.example.com
  names: {kind: Thing, plural: things}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
"#;
    let rules = Rules { name: "order", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template };
    let waits = r#"apiVersion: order.example.com/v1
kind: Thing
metadata: {name: "waits-{{ .CloudEvent.subject }}", namespace: default}
"#;
    let waits = Rules { name: "waits", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template: waits };
    let waits = waits.text().replace("subject: identity", "subject: identity\n    cloudEventSubject: \"^later$\"");
    let rules = rules.text().replace("subject: identity", "subject: identity\n    cloudEventSubject: \"^zoe$\"");
    let stage = Stage::set(scene, &format!("{rules}\n---\n{waits}")).await?;
    let kubernetes = Stage::kubernetes(scene).await?;

    // A kind that nobody knows is waited for, and the definition wakes who waits.
    stage.publish(Event::user("login", "later")).await?;
    stage.fails("later", &["does not know `Thing`", "hint:"]).await?;
    stage.publish(Event::user("login", "zoe")).await?;
    stage.phase("zoe", "Ready").await?;
    stage.becomes("later", "waits", "Ready").await?;
    let made = kubernetes.has_namespace("order-zoe").await?;
    assert_eq!(made.metadata.annotations.unwrap_or_default()["lifeline.dev/bare"], "true");

    // It goes in reverse, and each waits for those before it.
    stage.publish(Event::user("logout", "later")).await?;
    stage.becomes("later", "waits", "Gone").await?;
    let held = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "namespace": "order-zoe", "finalizers": finalizers}});
    kubernetes.apply(&held(json!(["example.com/hold"])).to_string()).await?;
    stage.publish(Event::user("logout", "zoe")).await?;
    stage.fails("zoe", &["order-zoe/held", "is being deleted", "the finalizer `example.com/hold`"]).await?;
    let stuck = stage.lifeline.ask(&["show", "stuck"])?;
    assert!(stuck.to_string().contains("example.com/hold"), "{stuck}");
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.order.example.com"}});
    let why = stage.lifeline.ask(&["why", "object", "ConfigMap", "order-zoe/held"])?;
    assert!(why.to_string().contains("example.com/hold"), "{why}");
    kubernetes.apply(&held(json!([])).to_string()).await?;
    stage.phase("zoe", "Gone").await?;
    assert!(kubernetes.delete(&definition).await.is_err(), "the definition went last");
    kubernetes.has_namespace("order-zoe").await.map(drop)
}

pub async fn waits_for_namespace(scene: &Scene) -> Outcome {
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: \"skipped-{{ .CloudEvent.subject }}\"}\n";
    let rules = Rules { name: "skipped", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text();
    let policy = "{kind: ConfigMap, namespace: default, name: skipped";
    let skips = rules.replace(policy, &format!("{policy}, skipNamespaceCreation: true"));
    assert_ne!(skips, rules);
    let stage = Stage::set(scene, &skips).await?;
    let kubernetes = Stage::kubernetes(scene).await?;
    stage.publish(Event::user("login", "zoe")).await?;
    stage.fails("zoe", &["the namespace `skipped-zoe` does not exist", "hint:"]).await?;
    assert!(kubernetes.namespace("skipped-zoe").await?.is_none());
    stage.change_rules(&rules)?;
    stage.phase("zoe", "Ready").await?;

    // A trigger that gives the Namespace itself takes it over, under the same uid.
    let bare = kubernetes.has_namespace("skipped-zoe").await?;
    let template = "apiVersion: v1\nkind: Namespace\nmetadata: {name: \"skipped-{{ .CloudEvent.subject }}\"}\n";
    let owner = Rules { name: "owner", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text();
    stage.change_rules(&format!("{rules}\n---\n{owner}"))?;
    stage.becomes("zoe", "owner", "Ready").await?;
    assert_eq!(kubernetes.has_namespace("skipped-zoe").await?.metadata.uid, bare.metadata.uid);
    stage.publish(Event::user("logout", "zoe")).await?;
    kubernetes.lost_namespace("skipped-zoe").await
}

/// What real API servers say to a change of a field that never changes, for the kinds that people use.
pub async fn recreated(scene: &Scene) -> Outcome {
    let template = r#"{{- $v := .CloudEvent.data.v -}}
{{- if eq .CloudEvent.subject "config" }}
apiVersion: v1
kind: ConfigMap
metadata: {name: recreated-config, namespace: default}
immutable: true
data: {v: "{{ $v }}"}
{{- else if eq .CloudEvent.subject "service" }}
apiVersion: v1
kind: Service
metadata: {name: recreated, namespace: default}
spec: {clusterIP: "10.0.0.{{ $v }}", ports: [{port: 80}]}
{{- else if eq .CloudEvent.subject "job" }}
apiVersion: batch/v1
kind: Job
metadata: {name: recreated, namespace: default}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "a:{{ $v }}"}]}}}
{{- else if eq .CloudEvent.subject "deployment" }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: recreated, namespace: default}
spec:
  selector: {matchLabels: {v: "{{ $v }}"}}
  template: {metadata: {labels: {v: "{{ $v }}"}}, spec: {containers: [{name: a, image: a}]}}
{{- else if eq .CloudEvent.subject "set" }}
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: recreated, namespace: default}
spec:
  serviceName: "s{{ $v }}"
  selector: {matchLabels: {v: v}}
  template: {metadata: {labels: {v: v}}, spec: {containers: [{name: a, image: a}]}}
{{- else }}
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: recreated, namespace: default}
spec: {storageClassName: "c{{ $v }}", accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
{{- end }}
"#;
    let rules = Rules { name: "recreated", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text();
    let stage = Stage::set(scene, &rules).await?;
    let kubernetes = Stage::kubernetes(scene).await?;
    let subjects = [
        ("config", "`data`"),
        ("service", "`spec.clusterIPs[0]`"),
        ("job", "`spec.template`"),
        ("deployment", "`spec.selector`"),
        ("set", "`spec.serviceName`"),
        ("claim", "`spec`"),
    ];
    let login = |subject: &str, v: u32| Event::user("login", subject).data(json!({ "v": v.to_string() }));
    for (subject, _) in subjects {
        stage.publish(login(subject, 71)).await?;
    }
    for (subject, _) in subjects {
        stage.phase(subject, "Ready").await?;
        stage.publish(login(subject, 72)).await?;
    }
    for (subject, field) in subjects {
        let remedy = format!("hint: {field} can never change while the object lives");
        stage.fails(subject, &[&remedy, "lifeline.dev/recreate"]).await?;
    }
    // Somebody deletes it by hand.
    let first = stage.has("recreated-config", &[("v", "71")]).await?;
    kubernetes
        .delete(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "recreated-config", "namespace": "default"}}))
        .await?;
    stage.becomes("config", "recreated", "Ready").await?;
    let second = stage.has("recreated-config", &[("v", "72")]).await?;
    assert_ne!(second.metadata.uid, first.metadata.uid);

    let policy = "{kind: ConfigMap, namespace: default, name: recreated";
    stage.change_rules(&rules.replace(policy, &format!("{policy}, force: true")))?;
    for (subject, _) in subjects.iter().filter(|(subject, _)| *subject != "claim") {
        stage.becomes(subject, "recreated", "Ready").await?;
    }
    let facts = stage.lifeline.ask(&["history", SOURCE, "job"])?;
    let facts = facts["items"].as_array().into_iter().flatten().map(|entry| entry["fact"].as_str().unwrap_or_default());
    assert!(facts.clone().any(|fact| fact == "Recreated"), "{:?}", facts.collect::<Vec<_>>());
    // What holds data is not made again because a policy says so.
    stage.fails("claim", &["lifeline.dev/recreate"]).await?;
    Ok(())
}

pub async fn tiers(scene: &Scene) -> Outcome {
    let template = |by: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: \"tiered-{{{{ .CloudEvent.subject }}}}\", namespace: default}}\ndata: {{by: {by}}}\n"
        )
    };
    let action = |create: &str, delete: &str| {
        format!(
            r#"{{{{ if eq .CloudEvent.type "auth.example.com.{create}" }}}}Create{{{{ else if eq .CloudEvent.type "auth.example.com.{delete}" }}}}Delete{{{{ else }}}}Nothing{{{{ end }}}}"#
        )
    };
    let (login, visit) = (action("login", "logout"), action("visit", "leave"));
    let (behaviour, by_high, by_low) = ("WithdrawPolicies", template("high"), template("low"));
    let high = Rules { name: "high", action: &login, behaviour, template: &by_high }.text();
    let low = Rules { name: "low", action: &visit, behaviour, template: &by_low }.text();
    let low = low.replace("oneForEvent: true", "oneForEvent: true\n  tier: 50");
    let mut stage = Stage::set(scene, &format!("{high}\n---\n{low}")).await?;

    stage.publish(Event::user("login", "zoe")).await?;
    let first = stage.has("tiered-zoe", &[("by", "high")]).await?;
    stage.publish(Event::user("visit", "zoe")).await?;
    let taken = stage.has("tiered-zoe", &[("by", "low")]).await?;
    assert_eq!(taken.metadata.uid, first.metadata.uid, "it changes hands in place");
    stage.becomes("zoe", "low", "Ready").await?;
    stage.becomes("zoe", "high", "Failing").await?;
    let conflicts = stage.lifeline.ask(&["show", "conflicts"])?;
    assert_eq!(conflicts["items"][0]["claims"][0]["trigger"], "low", "{conflicts}");
    stage.lifeline.kill();
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    // A tie keeps it, and so does a higher tier.
    stage.publish(Event::user("login", "zoe")).await?;
    stage.publish(Event::user("visit", "zoe")).await?;
    stage.becomes("zoe", "low", "Ready").await?;
    stage.publish(Event::user("leave", "zoe")).await?;
    let back = stage.has("tiered-zoe", &[("by", "high")]).await?;
    assert_eq!(back.metadata.uid, first.metadata.uid);
    stage.becomes("zoe", "high", "Ready").await?;
    stage.publish(Event::user("visit", "zoe")).await?;
    stage.has("tiered-zoe", &[("by", "low")]).await?;
    stage.publish(Event::user("logout", "zoe")).await?;
    stage.becomes("zoe", "high", "Gone").await?;
    let kept = stage.has("tiered-zoe", &[("by", "low")]).await?;
    assert_eq!(kept.metadata.uid, first.metadata.uid);
    stage.publish(Event::user("leave", "zoe")).await?;
    stage.lost("tiered-zoe").await
}

/// Whatever is renamed or moved in the rules: what is wanted before and after keeps its uid.
pub async fn changes_of_rules_keep_uids(scene: &Scene) -> Outcome {
    let one = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: \"kept-{name}-{{{{ .CloudEvent.subject }}}}\", namespace: default}}\ndata: {{of: {name}}}\n"
        )
    };
    let rules = |name: &'static str, template: &str| {
        Rules { name, action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text()
    };
    let both = rules("both", &format!("{}---\n{}", one("a"), one("b")));
    let stage = Stage::set(scene, &both).await?;
    stage.publish(Event::user("login", "zoe")).await?;
    let first = (stage.has("kept-a-zoe", &[("of", "a")]).await?, stage.has("kept-b-zoe", &[("of", "b")]).await?);
    let kept = async |what: &str, trigger: &str| -> Outcome {
        stage.becomes("zoe", trigger, "Ready").await?;
        stage.lifeline.has_settled().await?;
        let now = (stage.has("kept-a-zoe", &[("of", "a")]).await?, stage.has("kept-b-zoe", &[("of", "b")]).await?);
        assert_eq!(
            (now.0.metadata.uid, now.1.metadata.uid),
            (first.0.metadata.uid.clone(), first.1.metadata.uid.clone()),
            "{what}"
        );
        Ok(())
    };
    let source = both.replacen("metadata: {name: both}", "metadata: {name: other}", 1);
    let source = source.replace("eventSourceName: both", "eventSourceName: other");
    stage.change_rules(&source)?;
    kept("the EventSource is renamed", "both").await?;
    let content = source.replace("default, name: both}", "default, name: another}");
    let content = content.replace("\n  name: both\n", "\n  name: another\n");
    assert_ne!(content, source);
    stage.change_rules(&content)?;
    kept("the ConfigMap is renamed", "both").await?;
    stage.change_rules(&format!("{}\n---\n{}", rules("half-a", &one("a")), rules("half-b", &one("b"))))?;
    stage.becomes("zoe", "half-a", "Ready").await?;
    kept("the trigger is split", "half-b").await?;
    stage.change_rules(&both)?;
    kept("and put together again", "both").await
}

pub async fn stops_at_conflict(scene: &Scene) -> Outcome {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conflict-a, namespace: default}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: conflict-b, namespace: default}\ndata: {by: lifeline}\n";
    let rules = Rules { name: "conflict", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text();
    let stage = Stage::set(scene, &rules).await?;
    let theirs = serde_json::from_value(json!({"metadata": {"name": "conflict-a"}}))?;
    stage.config_maps.create(&PostParams::default(), &theirs).await?;
    stage.publish(Event::user("login", "zoe")).await?;
    stage.fails("zoe", &["conflict-a", "are not applied", "conflict-b", "continueOnConflict"]).await?;
    assert!(stage.config_maps.get_opt("conflict-b").await?.is_none());
    stage.change_rules(&rules.replace("oneForEvent: true", "oneForEvent: true\n  continueOnConflict: true"))?;
    stage.has("conflict-b", &[("by", "lifeline")]).await?;
    stage.fails("zoe", &["conflict-a", "was not made by Lifeline"]).await
}

/// A webhook that denies with a status code, or none, until it allows.
struct Webhook {
    /// What it answers: 0 allows, 1 denies without a code, any other one denies with that.
    code: Arc<AtomicU16>,
    url: String,
    certificate: String,
}

impl Webhook {
    async fn start(scene: &Scene) -> Result<Webhook, Failure> {
        let pair = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&pair)?.pem();
        let files = Files {
            certificate: scene.write("webhook.crt", &certificate)?,
            key: scene.write("webhook.key", &pair.serialize_pem())?,
        };
        let identity = Identity::open(files)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}/", listener.local_addr()?);
        let code = Arc::new(AtomicU16::new(0));
        let answered = code.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, code) = (identity.acceptor(), answered.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    let (mut read, mut buffer) = (Vec::new(), [0; 8_192]);
                    // One request a connection.
                    let review = loop {
                        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
                        read.extend_from_slice(&buffer[..count]);
                        let text = String::from_utf8_lossy(&read);
                        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
                        if let Ok(review) = serde_json::from_str::<Value>(body) {
                            break review;
                        }
                    };
                    let code = code.load(Ordering::Relaxed);
                    let uid = &review["request"]["uid"];
                    let response = match code {
                        0 => json!({"uid": uid, "allowed": true}),
                        1 => json!({"uid": uid, "allowed": false}),
                        code => {
                            json!({"uid": uid, "allowed": false, "status": {"code": code, "message": "not on a Friday"}})
                        }
                    };
                    let body =
                        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
                    let body = body.to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Ok(Webhook { code, url, certificate })
    }

    fn manifest(&self) -> Value {
        let bundle = ByteString(self.certificate.clone().into_bytes());
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "friday.example.com"},
            "webhooks": [{
                "name": "friday.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"url": self.url, "caBundle": bundle},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE", "DELETE"]}],
                "matchConditions": [{"name": "mine", "expression": "request.name.startsWith('webhooked-')"}],
            }],
        })
    }
}

pub async fn webhook_denies(scene: &Scene) -> Outcome {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"webhooked-{{ .CloudEvent.subject }}\", namespace: default}\ndata: {by: lifeline}\n";
    let rules = Rules { name: "webhooked", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text();
    let stage = Stage::set(scene, &rules).await?;
    let kubernetes = Stage::kubernetes(scene).await?;
    let webhook = Webhook::start(scene).await?;
    kubernetes.apply(&webhook.manifest().to_string()).await?;
    webhook.code.store(403, Ordering::Relaxed);
    eventually("the webhook to be in force", SOON, async || {
        let probe = serde_json::from_value(json!({"metadata": {"name": "webhooked-probe"}}))
            .map_err(|error| error.to_string())?;
        match stage.config_maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &probe).await {
            Ok(_) => Err("it allows".to_owned()),
            Err(error) if error.to_string().contains("denied the request") => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;
    let who = ["the admission webhook `friday.example.com` denies it", "hint:", "tried again"];
    let codes = [1, 400, 401, 403, 404, 409, 413, 422, 500];
    for code in codes {
        webhook.code.store(code, Ordering::Relaxed);
        stage.publish(Event::user("login", &format!("u{code}"))).await?;
        stage.fails(&format!("u{code}"), &who).await?;
    }
    webhook.code.store(0, Ordering::Relaxed);
    for code in codes {
        stage.becomes(&format!("u{code}"), "webhooked", "Ready").await?;
    }
    for code in codes {
        webhook.code.store(code, Ordering::Relaxed);
        stage.publish(Event::user("logout", &format!("u{code}"))).await?;
        stage.fails(&format!("u{code}"), &who).await?;
    }
    webhook.code.store(0, Ordering::Relaxed);
    for code in codes {
        stage.becomes(&format!("u{code}"), "webhooked", "Gone").await?;
    }
    kubernetes.delete(&webhook.manifest()).await
}

pub async fn policy_denies(scene: &Scene) -> Outcome {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"guarded-{{ .CloudEvent.subject }}\", namespace: default}\ndata: {by: lifeline}\n";
    let rules = Rules { name: "guarded", action: LOGIN_LOGOUT, behaviour: "WithdrawPolicies", template }.text();
    let stage = Stage::set(scene, &rules).await?;
    let kubernetes = Stage::kubernetes(scene).await?;
    let version = "admissionregistration.k8s.io/v1";
    let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    let policy = |reason: &str| {
        let name = format!("guards-{}", reason.to_lowercase());
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE", "DELETE"]});
        let prefix = format!("guarded-{}", reason.to_lowercase());
        let policy = json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": format!("!request.name.startsWith('{prefix}')"), "reason": reason, "message": "ask the guard"}],
            },
        });
        let binding = json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        });
        (name, policy, binding)
    };
    let guard = async || -> Outcome {
        for reason in reasons {
            let (_, policy, binding) = policy(reason);
            kubernetes.apply(&policy.to_string()).await?;
            kubernetes.apply(&binding.to_string()).await?;
            let name = format!("guarded-{}-probe", reason.to_lowercase());
            eventually(&format!("the policy {reason} to be in force"), SOON, async || {
                let probe =
                    serde_json::from_value(json!({"metadata": {"name": name}})).map_err(|error| error.to_string())?;
                match stage.config_maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &probe).await {
                    Ok(_) => Err("it allows".to_owned()),
                    Err(_) => Ok(()),
                }
            })
            .await?;
        }
        Ok(())
    };
    let lift = async || -> Outcome {
        for reason in reasons {
            kubernetes.delete(&policy(reason).2).await?;
        }
        Ok(())
    };
    guard().await?;
    for (kind, phase) in [("login", "Ready"), ("logout", "Gone")] {
        if kind == "logout" {
            guard().await?;
        }
        for reason in reasons {
            stage.publish(Event::user(kind, &reason.to_lowercase())).await?;
        }
        for reason in reasons {
            let who = format!("the ValidatingAdmissionPolicy `{}` denies it", policy(reason).0);
            stage.fails(&reason.to_lowercase(), &[&who, "ask the guard", "hint:"]).await?;
        }
        lift().await?;
        for reason in reasons {
            stage.becomes(&reason.to_lowercase(), "guarded", phase).await?;
        }
    }
    Ok(())
}
