//! Every field of Sveltos' EventSource and EventTrigger, in one manifest each, and what becomes of it here.
//!
//! Start at [`FIELDS`]. The shapes are those that the definitions of Sveltos accept, written anew; what each means is in
//! `SVELTOS.md`. The tests check that no field is passed over in silence, and that a cluster takes each of them under the
//! definitions of both.

use serde_json::{Map, Value, json};

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done: nothing is said.
    Done,
    /// The rule is in force, and a warning has these words.
    Warned(&'static str),
    /// The rule is out of force, or the content is not applied, and the message has these words.
    Refused(&'static str),
}

/// Where a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the spec of an EventSource.
    Source,
    /// In the metadata of an EventSource.
    SourceMetadata,
    /// In the spec of an EventTrigger.
    Trigger,
    /// In the metadata of an EventTrigger.
    TriggerMetadata,
    /// In the only entry of `policyRefs`.
    Policy,
    /// In the metadata of the ConfigMap that it names.
    ContentMetadata,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Where it is.
    pub place: Place,
    /// The field with a value, as JSON: it replaces what the sound rules have there.
    pub written: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
}

const fn field(place: Place, written: &'static str, verdict: Verdict) -> Field {
    Field { place, written, verdict }
}

use Place::{ContentMetadata, Policy, Source, SourceMetadata, Trigger, TriggerMetadata};
use Verdict::{Done, Refused, Warned};

const CHECKS: &str = r#"[{"name": "up", "featureID": "Resources", "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "web", "script": "-- lua", "labelFilters": [{"key": "app", "operation": "Equal", "value": "web"}], "evaluateCEL": [{"name": "ready", "rule": "true"}]}]"#;

/// All of them, in the order of the definitions.
pub const FIELDS: &[Field] = &[
    // EventSource.
    field(Source, r#"{"messagingMatchCriteria": [{"subject": "^user"}]}"#, Done),
    field(Source, r#"{"messagingMatchCriteria": [{"cloudEventSource": "auth"}, {"cloudEventType": "login$"}]}"#, Done),
    field(Source, r#"{"messagingMatchCriteria": [{"cloudEventSubject": "ada"}]}"#, Done),
    field(
        Source,
        r#"{"messagingMatchCriteria": [{"subject": "("}, {"subject": "user"}]}"#,
        Refused("regular expression"),
    ),
    field(Source, r#"{"messagingMatchCriteria": []}"#, Warned("so no CloudEvent matches")),
    field(
        Source,
        r#"{"resourceSelectors": [{"group": "", "version": "v1", "kind": "Service", "namespace": "web", "name": "a", "evaluate": "-- lua", "evaluateCEL": [{"name": "x", "rule": "true"}], "labelFilters": [{"key": "a", "operation": "Has"}], "selector": {"matchLabels": {"a": "b"}}}]}"#,
        Warned("are about Kubernetes resources and have no effect"),
    ),
    field(Source, r#"{"aggregatedSelection": "-- lua"}"#, Warned("are about Kubernetes resources and have no effect")),
    // It says nothing about messages.
    field(Source, r#"{"collectResources": true}"#, Done),
    field(SourceMetadata, r#"{"namespace": "default"}"#, Done),
    field(
        SourceMetadata,
        r#"{"labels": {"projectsveltos.io/serviceaccount-name": "a", "projectsveltos.io/serviceaccount-namespace": "b"}}"#,
        Warned("has no effect: messages of NATS are read with the rights of Lifeline"),
    ),
    // EventTrigger.
    field(Trigger, r#"{"sourceClusterSelector": {"matchLabels": {"env": "fv"}}}"#, Warned("is assumed to match")),
    field(
        Trigger,
        r#"{"sourceClusterSelector": {"matchExpressions": [{"key": "env", "operator": "In", "values": ["fv"]}]}}"#,
        Warned("is assumed to match"),
    ),
    field(
        Trigger,
        r#"{"sourceClusterSelector": {}}"#,
        Warned("selects every cluster; in Sveltos an empty one selects none"),
    ),
    field(
        Trigger,
        r#"{"clusterSetRefs": ["production"], "sourceClusterSelector": {}}"#,
        Refused("`spec.clusterSetRefs` is not read"),
    ),
    field(
        Trigger,
        r#"{"clusterSetRefs": ["production"], "sourceClusterSelector": {"matchLabels": {"env": "fv"}}}"#,
        Warned("`spec.clusterSetRefs` has no effect"),
    ),
    field(
        Trigger,
        r#"{"destinationClusterSelector": {"matchLabels": {"env": "fv"}}}"#,
        Refused("`spec.destinationClusterSelector` is not done"),
    ),
    field(Trigger, r#"{"destinationClusterSelector": {}}"#, Done),
    field(
        Trigger,
        r#"{"destinationCluster": {"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": "SveltosCluster", "namespace": "a", "name": "b"}}"#,
        Refused("`spec.destinationCluster` is not done"),
    ),
    field(Trigger, r#"{"eventSourceName": "{{ \"parity\" }}"}"#, Done),
    field(Trigger, r#"{"oneForEvent": true}"#, Done),
    field(Trigger, r#"{"cloudEventAction": "Delete"}"#, Done),
    field(
        Trigger,
        r#"{"cloudEventAction": "{{ if eq .CloudEvent.type \"logout\" }}Delete{{ else }}Create{{ end }}"}"#,
        Done,
    ),
    field(
        Trigger,
        r#"{"profileNameFormat": "p-{{ .CloudEvent.subject }}"}"#,
        Warned("Lifeline makes no ClusterProfile"),
    ),
    field(
        Trigger,
        r#"{"configMapGenerator": [{"namespace": "default", "name": "parity", "nameFormat": "{{ .CloudEvent.subject }}", "optional": false}]}"#,
        Done,
    ),
    field(
        Trigger,
        r#"{"secretGenerator": [{"namespace": "default", "name": "gone", "nameFormat": "x", "optional": true}]}"#,
        Done,
    ),
    field(Trigger, r#"{"syncMode": "Continuous"}"#, Done),
    field(Trigger, r#"{"syncMode": "OneTime"}"#, Done),
    field(Trigger, r#"{"syncMode": "ContinuousWithDriftDetection"}"#, Done),
    field(Trigger, r#"{"syncMode": "DryRun"}"#, Warned("events are decided, nothing is applied")),
    field(Trigger, r#"{"tier": 5}"#, Done),
    field(Trigger, r#"{"continueOnConflict": true}"#, Done),
    field(Trigger, r#"{"maxUpdate": "30%"}"#, Warned("a change reaches all its objects at once")),
    field(Trigger, r#"{"maxUpdate": 3}"#, Warned("a change reaches all its objects at once")),
    field(Trigger, r#"{"stopMatchingBehavior": "LeavePolicies"}"#, Done),
    field(
        Trigger,
        r#"{"stopMatchingBehavior": "LeavePolicies", "cloudEventAction": "Delete"}"#,
        Warned("in Sveltos they stay"),
    ),
    field(Trigger, r#"{"reloader": true}"#, Warned("workloads are not restarted")),
    field(Trigger, r#"{"dependsOn": ["other"]}"#, Warned("is about ClusterProfiles")),
    field(
        Trigger,
        r#"{"templateResourceRefs": [{"identifier": "S", "optional": true, "ignoreStatusChanges": true, "watchFields": ["data"], "resource": {"apiVersion": "v1", "kind": "Secret", "namespace": "default", "name": "s"}}]}"#,
        Warned("has no effect: every change of the object counts"),
    ),
    field(
        Trigger,
        r#"{"helmCharts": [{"repositoryURL": "https://example.com", "repositoryName": "nats", "chartName": "nats/nats", "chartVersion": "1.2.9", "releaseName": "nats", "releaseNamespace": "nats", "helmChartAction": "Install", "values": "a: 1", "valuesFrom": [{"kind": "ConfigMap", "name": "v", "namespace": "default", "optional": true}], "options": {"wait": true, "timeout": "5m"}, "registryCredentialsConfig": {"plainHTTP": true}}]}"#,
        Warned("`spec.helmCharts` needs Sveltos' addon-controller"),
    ),
    field(
        Trigger,
        r#"{"helmCharts": [{"repositoryURL": "https://example.com", "repositoryName": "n", "chartName": "n/n", "chartVersion": "1.2.9", "releaseName": "n", "releaseNamespace": "n"}], "policyRefs": []}"#,
        Refused("there is nothing else to make"),
    ),
    field(
        Trigger,
        r#"{"kustomizationRefs": [{"kind": "ConfigMap", "namespace": "default", "name": "k", "path": "./", "targetNamespace": "x", "values": {"a": "b"}, "components": ["c"], "tier": 3}]}"#,
        Warned("`spec.kustomizationRefs` needs Sveltos' addon-controller"),
    ),
    field(
        Trigger,
        r#"{"kustomizationRefs": [{"remoteURL": {"url": "https://example.com"}}]}"#,
        Warned("`spec.kustomizationRefs` needs"),
    ),
    field(Trigger, r#"{"validateHealths": CHECKS}"#, Warned("`spec.validateHealths` needs Sveltos' addon-controller")),
    field(Trigger, r#"{"preDeployChecks": CHECKS}"#, Warned("`spec.preDeployChecks` needs Sveltos' addon-controller")),
    field(Trigger, r#"{"preDeleteChecks": CHECKS}"#, Warned("`spec.preDeleteChecks` needs Sveltos' addon-controller")),
    field(
        Trigger,
        r#"{"postDeleteChecks": CHECKS}"#,
        Warned("`spec.postDeleteChecks` needs Sveltos' addon-controller"),
    ),
    field(
        Trigger,
        r#"{"patches": [{"patch": "- {op: add, path: /metadata/labels/a, value: b}", "target": {"kind": "Deployment", "name": ".*", "group": "apps", "version": "v1", "namespace": "x", "labelSelector": "a=b", "annotationSelector": "c=d"}}]}"#,
        Done,
    ),
    field(
        Trigger,
        r#"{"patchesFrom": [{"kind": "ConfigMap", "namespace": "default", "name": "p", "optional": true}]}"#,
        Done,
    ),
    field(Trigger, r#"{"driftExclusions": [{"paths": ["/spec/replicas"]}]}"#, Warned("drift is detected with")),
    field(
        Trigger,
        r#"{"syncMode": "ContinuousWithDriftDetection", "driftExclusions": [{"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}}]}"#,
        Done,
    ),
    field(
        Trigger,
        r#"{"syncMode": "ContinuousWithDriftDetection", "driftExclusions": [{"paths": ["/spec/replicas"], "target": {"labelSelector": "a=b"}}]}"#,
        Refused("target.labelSelector` is not read"),
    ),
    field(Trigger, r#"{"extraLabels": {"a": "b"}}"#, Done),
    field(Trigger, r#"{"extraAnnotations": {"a": "{{ .CloudEvent.subject }}"}}"#, Done),
    field(TriggerMetadata, r#"{"namespace": "default"}"#, Done),
    field(TriggerMetadata, r#"{"annotations": {"cluster.x-k8s.io/paused": "true"}}"#, Refused("the trigger is paused")),
    field(TriggerMetadata, r#"{"annotations": {"projectsveltos.io/tex-template": "ok"}}"#, Done),
    field(
        TriggerMetadata,
        r#"{"labels": {"projectsveltos.io/serviceaccount-name": "a", "projectsveltos.io/serviceaccount-namespace": "b"}}"#,
        Done,
    ),
    // An entry of `policyRefs`.
    field(Policy, r#"{"kind": "ConfigMap"}"#, Done),
    field(Policy, r#"{"kind": "Secret", "name": "gone", "optional": true}"#, Done),
    field(Policy, r#"{"kind": "GitRepository", "path": "manifests"}"#, Refused("sources of Flux need")),
    field(Policy, r#"{"kind": "OCIRepository"}"#, Refused("sources of Flux need")),
    field(Policy, r#"{"kind": "Bucket"}"#, Refused("sources of Flux need")),
    field(
        Policy,
        r#"{"kind": null, "name": null, "namespace": null, "remoteURL": {"url": "https://example.com/a.yaml", "interval": "5m", "template": true, "secretRef": {"name": "s", "namespace": "default"}}}"#,
        Refused("remoteURL` is not fetched"),
    ),
    field(Policy, r#"{"namespace": ""}"#, Done),
    field(Policy, r#"{"name": "{{ \"parity\" }}"}"#, Done),
    field(Policy, r#"{"name": null}"#, Refused("policyRefs[0].name` is missing or empty")),
    field(Policy, r#"{"optional": true}"#, Done),
    field(Policy, r#"{"path": "manifests"}"#, Warned("is for sources of Flux and has no effect")),
    field(Policy, r#"{"deploymentType": "Remote"}"#, Done),
    field(Policy, r#"{"deploymentType": "Local"}"#, Warned("is the same as `Remote` here")),
    field(Policy, r#"{"tier": 10}"#, Done),
    field(Policy, r#"{"force": true}"#, Done),
    field(Policy, r#"{"skipNamespaceCreation": true}"#, Done),
    // What is written on the object that an entry names.
    field(ContentMetadata, r#"{"annotations": {"projectsveltos.io/instantiate": ""}}"#, Done),
    field(ContentMetadata, r#"{"annotations": {"projectsveltos.io/template": "ok"}}"#, Done),
    field(
        ContentMetadata,
        r#"{"annotations": {"projectsveltos.io/lua": "ok"}}"#,
        Refused("says that the texts are Lua"),
    ),
    field(
        ContentMetadata,
        r#"{"annotations": {"projectsveltos.io/subresources": "status"}}"#,
        Warned("has no effect: an object is applied without its `status`"),
    ),
];

/// What a template may write, and what becomes of it: the text that it gives, or the words of the warning or refusal.
pub const TEMPLATES: &[(&str, Verdict, &str)] = &[
    // What templates see.
    ("{{ .CloudEvent.subject }}", Done, "ada"),
    ("{{ .CloudEvent.data.number }}", Done, "1000000"),
    (
        "{{ .Cluster.metadata.name }} {{ .Cluster.metadata.namespace }} {{ .Cluster.kind }}",
        Done,
        "mgmt mgmt SveltosCluster",
    ),
    ("{{ .Resource.metadata.name }}", Warned("`.Resource` is not there"), ""),
    ("{{ range .Resources }}{{ . }}{{ end }}", Warned("`.Resources` is not there"), ""),
    ("{{ .MatchingResource.Name }}", Warned("`.MatchingResource` is empty"), ""),
    ("{{ .MatchingResource.name }}", Refused("no key `name`"), ""),
    ("{{ .Cluster.spec.paused }}", Warned("`.Cluster.spec.paused` is not there: no SveltosCluster"), ""),
    ("{{ with .CloudEvent }}{{ $.MatchingResources }}{{ end }}", Warned("`.MatchingResources` is empty"), ""),
    ("{{ len .MgmtResources }}", Done, "0"),
    ("{{ .KubeadmControlPlane }}", Warned("`.KubeadmControlPlane` is not there"), ""),
    ("{{ .InfrastructureProvider }}", Warned("`.InfrastructureProvider` is not there"), ""),
    ("{{ .ClusterKind }} {{ .ClusterNamespace }}/{{ .ClusterName }}", Done, "SveltosCluster mgmt/mgmt"),
    // A field of something else that is called so.
    ("{{ with .CloudEvent.data }}{{ .Resource }}{{ end }}", Done, "r"),
    ("{{ range .CloudEvent.data.list }}{{ .Resources }}{{ end }}", Done, "ab"),
    // Functions.
    ("{{ .CloudEvent.subject | upper | quote }}", Done, "\"ADA\""),
    ("{{ now | date \"2006\" }}", Done, "1970"),
    ("{{ fromJsonArray \"[1,2]\" | len }} {{ fromYamlArray \"[1]\" | len }}", Done, "2 1"),
    ("{{ toToml (dict \"a\" 1) | trim }}", Done, "a = 1"),
    ("{{ getField .CloudEvent \"data.text\" }}", Done, "b"),
    ("{{ (fromYaml (setField .CloudEvent.data \"text\" \"c\")).text }}", Done, "c"),
    ("{{ getResource \"Id\" }}", Refused("no key `Id`"), ""),
    ("{{ copy \"Id\" }}", Refused("no key `Id`"), ""),
    ("{{ getField \"Id\" \"a\" }}", Refused("no key `Id`"), ""),
    ("{{ randAlphaNum 3 }}", Refused("its result is random"), ""),
    ("{{ randInt 1 3 }}", Refused("its result is random"), ""),
    ("{{ shuffle \"ab\" }}", Refused("its result is random"), ""),
    ("{{ uuidv4 }}", Refused("its result is random"), ""),
    ("{{ genCA \"a\" 1 }}", Refused("render a Certificate"), ""),
    ("{{ genPrivateKey \"rsa\" }}", Refused("render a Certificate"), ""),
    ("{{ bcrypt \"a\" }}", Refused("a controller that keeps secrets"), ""),
    ("{{ htpasswd \"a\" \"b\" }}", Refused("a controller that keeps secrets"), ""),
    ("{{ encryptAES \"a\" \"b\" }}", Refused("a controller that keeps secrets"), ""),
    ("{{ env \"HOME\" }}", Refused("reads the environment"), ""),
    ("{{ getHostByName \"a\" }}", Refused("asks the network"), ""),
];

impl Field {
    /// Sound rules with this field: an EventSource, an EventTrigger and a ConfigMap.
    ///
    /// # Panics
    /// When the field is no JSON.
    #[must_use]
    pub fn rules(&self) -> [Value; 3] {
        let written = self.written.replace("CHECKS", CHECKS);
        let written: Map<String, Value> = serde_json::from_str(&written).expect(self.written);
        let kind = |kind: &str, spec: Value| {
            let metadata = json!({"name": "parity"});
            json!({"apiVersion": "lib.projectsveltos.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec})
        };
        let policy = json!({"kind": "ConfigMap", "namespace": "default", "name": "parity"});
        let mut source = kind("EventSource", json!({"messagingMatchCriteria": [{"subject": "users"}]}));
        let mut trigger = kind("EventTrigger", json!({"eventSourceName": "parity", "policyRefs": [policy]}));
        let mut content = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": "default", "name": "parity"},
            "data": {"ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"},
        });
        let changed = match self.place {
            Source => &mut source["spec"],
            SourceMetadata => &mut source["metadata"],
            Trigger => &mut trigger["spec"],
            TriggerMetadata => &mut trigger["metadata"],
            Policy => &mut trigger["spec"]["policyRefs"][0],
            ContentMetadata => &mut content["metadata"],
        };
        for (name, value) in written {
            match value {
                Value::Null => _ = changed.as_object_mut().and_then(|fields| fields.remove(&name)),
                value => changed[name.as_str()] = value,
            }
        }
        [source, trigger, content]
    }
}
