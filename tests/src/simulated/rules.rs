//! The rules of a simulated world, and a second, much simpler opinion on what they ask for.
//!
//! Start at [`Version`]: the rules as manifests for the engine, and as [`Version::wanted`] for the verdict. The two are
//! written separately, so that a mistake in one shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use lifeline_engine::cluster::ObjectKey;
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet, Severity};
use serde_json::Value;

const SOURCE: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata:
  name: user-operation
spec:
  messagingMatchCriteria:
  - subject: "user-operation"
"#;

/// A trigger and its one policy, whose data follows. [`trigger`] replaces NAME and ACTION.
const TRIGGER: &str = r#"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: NAME
spec:
  sourceClusterSelector: {}
  eventSourceName: user-operation
  oneForEvent: true
  cloudEventAction: 'ACTION'
  continueOnConflict: true
  policyRefs:
  - name: NAME
    namespace: default
    kind: ConfigMap
    skipNamespaceCreation: true
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: NAME
  namespace: default
  annotations:
    projectsveltos.io/instantiate: ok
data:"#;

/// The trigger that every version but [`Version::Withdrawn`] has, as a rule is named.
pub const MANAGE: &str = "EventTrigger/manage";

const MANAGE_ACTION: &str = r#"{{if or (eq .CloudEvent.type "login") (eq .CloudEvent.type "visit")}}Create{{else if DELETES}}Delete{{else}}Nothing{{end}}"#;

const NAMESPACE: &str = r#"
  namespace.yaml: |
    kind: Namespace
    apiVersion: v1
    metadata:
      name: {{ .CloudEvent.subject }}"#;

const PROFILE: &str = r#"
  profile.yaml: |
    {{- if eq .CloudEvent.type "login" }}
    kind: ConfigMap
    apiVersion: API_VERSION
    metadata:
      name: profile
      namespace: {{ .CloudEvent.subject }}
    data:
      login: REVISION{{ .CloudEvent.id }}
    {{- end }}"#;

const AUDIT_ACTION: &str = r#"{{if eq .CloudEvent.type "login"}}Create{{else}}Nothing{{end}}"#;

const AUDIT: &str = r#"
  audit.yaml: |
    kind: ConfigMap
    apiVersion: v1
    metadata:
      name: audit-{{ .CloudEvent.source }}-{{ .CloudEvent.subject }}
      namespace: default
    data:
      login: {{ .CloudEvent.id }}"#;

const GUEST_ACTION: &str =
    r#"{{if eq .CloudEvent.type "login"}}Create{{else if eq .CloudEvent.type "LEAVES"}}Delete{{else}}Nothing{{end}}"#;

const GUEST: &str = r#"
  guest.yaml: |
    kind: ConfigMap
    apiVersion: v1
    metadata:
      name: guest-{{ .CloudEvent.source }}
      namespace: {{ .CloudEvent.subject }}
    data:
      login: {{ .CloudEvent.id }}
  book.yaml: |
    kind: ConfigMap
    apiVersion: v1
    metadata:
      name: guest-{{ .CloudEvent.source }}-{{ .CloudEvent.subject }}
      namespace: default
    data:
      login: {{ .CloudEvent.id }}"#;

const BASE_ACTION: &str =
    r#"{{if eq .CloudEvent.type "login"}}Create{{else if eq .CloudEvent.type "logout"}}Delete{{else}}Nothing{{end}}"#;

const LEAD_ACTION: &str =
    r#"{{if eq .CloudEvent.type "visit"}}Create{{else if eq .CloudEvent.type "suspend"}}Delete{{else}}Nothing{{end}}"#;

/// It is made once, of all users that are logged in. WHO is different in two versions of it.
const ROSTER: &str = r#"
  roster.yaml: |
    kind: ConfigMap
    apiVersion: v1
    metadata:
      name: roster
      namespace: default
    data:
      login: "WHO{{ range .CloudEvents }}{{ .source }}/{{ .subject }}={{ .id }} {{ end }}""#;

/// WHO is different in the two triggers that give it.
const TIERED: &str = r#"
  tiered.yaml: |
    kind: ConfigMap
    apiVersion: v1
    metadata:
      name: tiered-{{ .CloudEvent.source }}-{{ .CloudEvent.subject }}
      namespace: default
    data:
      login: WHO{{ .CloudEvent.id }}"#;

/// Its data never changes, so each event makes another one.
const FIXED: &str = r#"
  fixed.yaml: |
    kind: ConfigMap
    apiVersion: v1
    metadata:
      name: fixed-{{ .CloudEvent.source }}-{{ .CloudEvent.subject }}
      namespace: default
      annotations:
        lifeline.dev/recreate: "true"
    immutable: true
    data:
      login: {{ .CloudEvent.id }}"#;

fn trigger(name: &str, action: &str, data: &str) -> String {
    TRIGGER.replace("NAME", name).replace("ACTION", action) + data
}

/// The rules in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A login makes a namespace with a profile in it, a visit a namespace alone; a logout removes all.
    First,
    /// The profile says something else, and is written in another version of its kind.
    Revised,
    /// There is no profile any more.
    Fewer,
    /// A second trigger keeps a note of every login, for ever.
    Audited,
    /// A second trigger puts an object into the namespace, which it does not make. A suspension removes the object.
    WithGuests,
    /// The same, but no suspension removes it: the trigger differs, and what it makes does not.
    GuestsStay,
    /// A suspension removes everything too.
    Stricter,
    /// The trigger is gone.
    Withdrawn,
    /// Two more triggers give one object, at different tiers, and one of them an object that never changes.
    Tiered,
    /// A second trigger makes one list of all users that are logged in.
    Listed,
    /// The list says something else.
    Relisted,
}

/// An event as far as rules are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// CloudEvent `type`.
    pub kind: String,
    /// CloudEvent `id`.
    pub id: String,
}

impl Version {
    /// All of them.
    pub const ALL: [Version; 11] = [
        Version::First,
        Version::Revised,
        Version::Fewer,
        Version::Audited,
        Version::WithGuests,
        Version::GuestsStay,
        Version::Stricter,
        Version::Withdrawn,
        Version::Tiered,
        Version::Listed,
        Version::Relisted,
    ];

    /// Those that stories change to at any time. The others have chances of their own.
    pub const CHOSEN: [Version; 8] = [
        Version::First,
        Version::Revised,
        Version::Fewer,
        Version::Audited,
        Version::WithGuests,
        Version::GuestsStay,
        Version::Stricter,
        Version::Withdrawn,
    ];

    /// The rules as the engine gets them. They are compiled once and are the same for all stories.
    #[must_use]
    pub fn rules(self) -> Current {
        static COMPILED: LazyLock<[Current; Version::ALL.len()]> =
            LazyLock::new(|| Version::ALL.map(|version| version.compile(false, false)));
        COMPILED[self as usize].clone()
    }

    /// The same rules with triggers that detect drift, and maybe with the mistake of [`Version::broken`]. The checksums of
    /// the triggers are the same.
    #[must_use]
    pub fn watching(self, is_broken: bool) -> Current {
        static COMPILED: LazyLock<[[Current; Version::ALL.len()]; 2]> = LazyLock::new(|| {
            [false, true].map(|is_broken| Version::ALL.map(|version| version.compile(is_broken, true)))
        });
        COMPILED[usize::from(is_broken)][self as usize].clone()
    }

    /// The same rules with a mistake in the trigger `manage`, which is out of force for it. A version without this trigger
    /// is as it is.
    #[must_use]
    pub fn broken(self) -> Current {
        static COMPILED: LazyLock<[Current; Version::ALL.len()]> =
            LazyLock::new(|| Version::ALL.map(|version| version.compile(true, false)));
        COMPILED[self as usize].clone()
    }

    /// Whether [`MANAGE`] with this checksum has the mistake of [`Version::broken`].
    #[must_use]
    pub fn is_broken(digest: u64) -> bool {
        static BROKEN: LazyLock<BTreeSet<u64>> = LazyLock::new(|| {
            let digest = |rules: Current| Some(rules.rules?.documents().get(MANAGE)?.digest);
            let with_trigger = Version::ALL.into_iter().filter(|version| *version != Version::Withdrawn);
            with_trigger.flat_map(|version| [version.broken(), version.watching(true)]).filter_map(digest).collect()
        });
        BROKEN.contains(&digest)
    }

    /// The first version under which a trigger has this checksum. Other versions with it have the same trigger.
    #[must_use]
    pub fn of_trigger(trigger: &str, digest: u64) -> Option<Version> {
        let has = |version: &Version| {
            let rules = version.rules().rules?;
            Some(rules.trigger(trigger)?.digest() == digest)
        };
        Version::ALL.into_iter().find(|version| has(version) == Some(true))
    }

    /// What a trigger makes of an event: present, absent, or nothing.
    #[must_use]
    pub fn decides(self, trigger: &str, kind: &str) -> Option<bool> {
        match (trigger, kind) {
            ("manage", _) if self == Version::Withdrawn => None,
            ("audit", _) if self != Version::Audited => None,
            ("guest", _) if !self.has_guests() => None,
            ("base" | "lead", _) if self != Version::Tiered => None,
            ("roster", _) if !self.has_list() => None,
            ("manage" | "audit" | "guest" | "base" | "roster", "login") | ("manage" | "lead", "visit") => Some(true),
            ("base" | "roster", "logout") | ("lead", "suspend") => Some(false),
            ("guest", "suspend") if self == Version::WithGuests => Some(false),
            ("manage", "logout") => Some(false),
            ("manage", "suspend") if self == Version::Stricter => Some(false),
            _ => None,
        }
    }

    /// Whether an event that makes something makes a profile.
    #[must_use]
    pub fn gives_profile(self, kind: &str) -> bool {
        kind == "login" && !matches!(self, Version::Fewer | Version::Withdrawn)
    }

    /// Whether some event may make an object with this `data.login` by a trigger of these rules.
    #[must_use]
    pub fn may_give(self, trigger: &str, object: &ObjectKey, login: &Value) -> bool {
        let is_revised = login.as_str().is_some_and(|login| login.starts_with(Version::Revised.revision()));
        let is_lead = login.as_str().is_some_and(|login| login.starts_with("lead-"));
        match (trigger, &*object.kind, &*object.name) {
            ("manage", "Namespace", _) => self != Version::Withdrawn,
            ("manage", "ConfigMap", "profile") => {
                self.gives_profile("login") && is_revised == (self == Version::Revised)
            }
            ("audit", "ConfigMap", name) => self == Version::Audited && name.starts_with("audit-"),
            ("guest", "ConfigMap", name) => self.has_guests() && name.starts_with("guest-"),
            ("base", "ConfigMap", name) => {
                self == Version::Tiered && (name.starts_with("fixed-") || (name.starts_with("tiered-") && !is_lead))
            }
            ("roster", "ConfigMap", "roster") => {
                let says_again = login.as_str().is_some_and(|login| login.starts_with(Version::Relisted.list()));
                self.has_list() && says_again == (self == Version::Relisted)
            }
            ("lead", "ConfigMap", name) => self == Version::Tiered && name.starts_with("tiered-") && is_lead,
            _ => false,
        }
    }

    fn compile(self, is_broken: bool, detects_drift: bool) -> Current {
        let deletes = match self {
            Version::Stricter => r#"or (eq .CloudEvent.type "logout") (eq .CloudEvent.type "suspend")"#,
            Version::First
            | Version::Revised
            | Version::Fewer
            | Version::Audited
            | Version::WithGuests
            | Version::GuestsStay
            | Version::Tiered
            | Version::Listed
            | Version::Relisted
            | Version::Withdrawn => r#"eq .CloudEvent.type "logout""#,
        };
        let profile = if self == Version::Fewer { String::new() } else { self.profile() };
        let mut text = SOURCE.to_owned();
        if self != Version::Withdrawn {
            let action = MANAGE_ACTION.replace("DELETES", deletes);
            let action = if is_broken { action.replace("{{end}}", "{{fine}}") } else { action };
            text += &trigger("manage", &action, &(NAMESPACE.to_owned() + &profile));
        }
        if self == Version::Audited {
            text += &trigger("audit", AUDIT_ACTION, AUDIT);
        }
        if self.has_guests() {
            let leaves = if self == Version::WithGuests { "suspend" } else { "farewell" };
            text += &trigger("guest", &GUEST_ACTION.replace("LEAVES", leaves), GUEST);
        }
        if self == Version::Tiered {
            text += &trigger("base", BASE_ACTION, &(TIERED.replace("WHO", "") + FIXED));
            let lead = trigger("lead", LEAD_ACTION, &TIERED.replace("WHO", "lead-"));
            text += &lead.replace("oneForEvent: true", "oneForEvent: true\n  tier: 50");
        }
        if self.has_list() {
            let roster = trigger("roster", BASE_ACTION, &ROSTER.replace("WHO", self.list()));
            let settings = if detects_drift { "\n  syncMode: ContinuousWithDriftDetection" } else { "" };
            text += &roster.replace("oneForEvent: true", &format!("oneForEvent: false{settings}"));
        }
        if detects_drift {
            let with_drift = "oneForEvent: true\n  syncMode: ContinuousWithDriftDetection";
            text = text.replace("oneForEvent: true", with_drift);
        }
        let rules = RuleSet::new(Manifests::read("rules.yaml", &text), Clusters::default());
        // What Sveltos does otherwise is a warning, and no mistake.
        let errors = rules.problems().iter().filter(|problem| problem.severity == Severity::Error);
        let problems: Vec<String> = errors.map(ToString::to_string).collect();
        let is_sound = !is_broken || self == Version::Withdrawn;
        assert_eq!(problems.is_empty(), is_sound, "{self:?}: {problems:?}");
        Current { rules: Some(Arc::new(rules)), troubles: Vec::new() }
    }

    /// What the events ask for, under these rules: the value that each object should have. Where resources share an
    /// object, each of their values is right. Objects of guests are only wanted where there is a namespace, made by
    /// Lifeline or one of those that are there already.
    #[must_use]
    pub fn wanted<'a>(
        self,
        events: impl Iterator<Item = &'a Event>,
        foreign_namespaces: &[&str],
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut present: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
        let mut noted: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
        let mut guests: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
        let mut based: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
        let mut lead: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
        let mut listed: BTreeMap<(&str, &str), &Event> = BTreeMap::new();
        for event in events {
            let resource = (event.source.as_str(), event.subject.as_str());
            for (trigger, held) in [
                ("manage", &mut present),
                ("audit", &mut noted),
                ("guest", &mut guests),
                ("base", &mut based),
                ("lead", &mut lead),
                ("roster", &mut listed),
            ] {
                match self.decides(trigger, &event.kind) {
                    Some(true) => _ = held.insert(resource, event),
                    Some(false) => _ = held.remove(&resource),
                    None => {}
                }
            }
        }
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut want = |object: String, value: String| {
            wanted.entry(object).or_default().insert(value);
        };
        if !listed.is_empty() {
            let users =
                listed.into_iter().map(|((source, subject), event)| format!("{source}/{subject}={} ", event.id));
            let roster = format!("{}{}", self.list(), users.collect::<String>());
            want("ConfigMap/default/roster".to_owned(), Value::from(roster).to_string());
        }
        let has_namespace = |subject: &str| {
            foreign_namespaces.contains(&subject) || present.keys().any(|(_, of)| *of == subject && !of.contains('/'))
        };
        for ((source, subject), event) in guests.iter().filter(|((_, subject), _)| has_namespace(subject)) {
            want(format!("ConfigMap/{subject}/guest-{source}"), Value::from(&*event.id).to_string());
        }
        for ((source, subject), event) in guests.into_iter().filter(|((_, subject), _)| !subject.contains('/')) {
            want(format!("ConfigMap/default/guest-{source}-{subject}"), Value::from(&*event.id).to_string());
        }
        // No namespace has such a name: the cluster refuses it, whatever the events ask for.
        for ((_, subject), event) in present.into_iter().filter(|((_, subject), _)| !subject.contains('/')) {
            want(format!("Namespace/{subject}"), Value::Null.to_string());
            if self.gives_profile(&event.kind) {
                let login = Value::from(format!("{}{}", self.revision(), event.id));
                want(format!("ConfigMap/{subject}/profile"), login.to_string());
            }
        }
        // Of those that want it, the lowest tier has it.
        for (resource @ (source, subject), event) in
            based.into_iter().filter(|((_, subject), _)| !subject.contains('/'))
        {
            want(format!("ConfigMap/default/fixed-{source}-{subject}"), Value::from(&*event.id).to_string());
            if !lead.contains_key(&resource) {
                want(format!("ConfigMap/default/tiered-{source}-{subject}"), Value::from(&*event.id).to_string());
            }
        }
        for ((source, subject), event) in lead.into_iter().filter(|((_, subject), _)| !subject.contains('/')) {
            let login = Value::from(format!("lead-{}", event.id));
            want(format!("ConfigMap/default/tiered-{source}-{subject}"), login.to_string());
        }
        for ((source, subject), event) in noted.into_iter().filter(|((_, subject), _)| !subject.contains('/')) {
            want(format!("ConfigMap/default/audit-{source}-{subject}"), Value::from(&*event.id).to_string());
        }
        wanted
    }

    fn has_guests(self) -> bool {
        matches!(self, Version::WithGuests | Version::GuestsStay)
    }

    fn has_list(self) -> bool {
        matches!(self, Version::Listed | Version::Relisted)
    }

    fn list(self) -> &'static str {
        if self == Version::Relisted { "again " } else { "" }
    }

    /// The text of the profile.
    fn profile(self) -> String {
        let api_version = if self == Version::Revised { "v2" } else { "v1" };
        PROFILE.replace("REVISION", self.revision()).replace("API_VERSION", api_version)
    }

    fn revision(self) -> &'static str {
        if self == Version::Revised { "second-" } else { "" }
    }
}
