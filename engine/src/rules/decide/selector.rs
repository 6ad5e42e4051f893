//! Kubernetes label selectors, over the labels of clusters.
//!
//! Start at [`LabelSelector::matches`]; the shape of a selector is in `read::spec`. Nothing here knows where labels come from.

use std::collections::BTreeMap;

use crate::rules::read::spec::{LabelSelector, Operator, Requirement};

impl LabelSelector {
    /// Whether it asks for nothing, so that everything matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether these labels are selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            // As in Kubernetes: a label that is not there is in no set.
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(selector: Value, labels: &[(&str, &str)], expected: bool) {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(selector.matches(&labels), expected, "{selector:?} {labels:?}");
    }

    #[test]
    fn selectors_match_as_in_kubernetes() {
        check(json!({}), &[], true);
        check(json!({"matchLabels": {"env": "fv"}}), &[("env", "fv"), ("x", "y")], true);
        check(json!({"matchLabels": {"env": "fv"}}), &[("env", "prod")], false);
        check(json!({"matchLabels": {"env": "fv"}}), &[], false);
        let one = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "env", "operator": operator, "values": values}]});
        check(one("In", &["a", "b"]), &[("env", "b")], true);
        check(one("In", &["a", "b"]), &[("env", "c")], false);
        check(one("In", &["a"]), &[], false);
        check(one("NotIn", &["a"]), &[("env", "a")], false);
        check(one("NotIn", &["a"]), &[("env", "b")], true);
        check(one("NotIn", &["a"]), &[], true);
        check(one("Exists", &[]), &[("env", "")], true);
        check(one("Exists", &[]), &[], false);
        check(one("DoesNotExist", &[]), &[], true);
        check(one("DoesNotExist", &[]), &[("env", "a")], false);
        check(
            json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}),
            &[("a", "1")],
            false,
        );
    }
}
