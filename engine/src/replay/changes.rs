//! [`RuleChange`]: a rule that is not as it was when it was last recorded.

use lifeline_projections::fact::{Fact, RuleChanged};
use lifeline_projections::fold::Ground;

use crate::rules::RuleSet;

/// A rule that differs from what was last recorded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleChange {
    rule: String,
    digest: Option<u64>,
    manifest: String,
}

impl RuleChange {
    /// The fact that records it.
    #[must_use]
    pub fn fact(&self) -> Fact<'_> {
        Fact::Rule(RuleChanged { rule: &self.rule, digest: self.digest, manifest: &self.manifest })
    }

    /// Whether it is about what a trigger decides by.
    pub(super) fn concerns(&self, trigger: &str, event_source: Option<&str>) -> bool {
        match self.rule.split_once('/') {
            Some(("EventTrigger", name)) => name == trigger,
            Some(("EventSource", name)) => Some(name) == event_source,
            _ => false,
        }
    }
}

/// The rules that appeared, changed or went since they were last recorded, by name.
#[must_use]
pub fn rule_changes(rules: &RuleSet, ground: &Ground) -> Vec<RuleChange> {
    let current = rules.documents();
    let gone = ground.rules.keys().filter(|rule| !current.contains_key(*rule));
    let mut changes: Vec<RuleChange> =
        gone.map(|rule| RuleChange { rule: rule.clone(), digest: None, manifest: String::new() }).collect();
    for (rule, document) in current {
        if ground.rules.get(rule).is_none_or(|known| known.digest != document.digest) {
            let (rule, manifest) = (rule.clone(), document.manifest.clone());
            changes.push(RuleChange { rule, digest: Some(document.digest), manifest });
        }
    }
    changes
}
