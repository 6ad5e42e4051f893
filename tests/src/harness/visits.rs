//! The rules of stories that only need some: every event on the subject `visits` makes or removes one object.

/// An EventSource and an EventTrigger `visits`, and the ConfigMap `default/visits` with one text. A logout deletes what any
/// other event makes.
#[must_use]
pub fn visits(text: &str) -> String {
    let text = text.trim_end().replace('\n', "\n    ");
    format!("{RULES}\n    {text}\n")
}

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: visits}
spec:
  messagingMatchCriteria:
  - subject: visits
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: visits}
spec:
  eventSourceName: visits
  oneForEvent: true
  cloudEventAction: '{{ if eq .CloudEvent.type "auth.example.com.logout" }}Delete{{ else }}Create{{ end }}'
  policyRefs:
  - {kind: ConfigMap, namespace: default, name: visits}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: visits
  namespace: default
  annotations: {projectsveltos.io/instantiate: ok}
data:
  namespace.yaml: |"#;
