//! What an API server says of a right that is missing, and who can do what about it. Pure.

/// The remedy, by the message of the API server: who lacks the right, and the rule that would give it.
pub(super) fn remedy(message: &str) -> String {
    let Some(Missing { user, verb, resource, group, namespace }) = Missing::read(message) else {
        return "grant the identity Lifeline runs as this verb on this kind".to_owned();
    };
    if verb == "impersonate" {
        let place = namespace.map(|namespace| format!(" in the namespace `{namespace}`")).unwrap_or_default();
        return format!(
            "the trigger asks for this account, and `{user}`, as which Lifeline runs, may not act as it: name it in \
             `rbac.impersonate` of the chart, or grant the verb `impersonate` on `{resource}`{place}"
        );
    }
    // Newer API servers ask for narrower rights, and name the last one that they asked for. The broad one will do.
    if verb.starts_with("impersonate-on:") {
        return format!(
            "the trigger asks for an account, and `{user}`, as which Lifeline runs, may not act as it: name it in `rbac.impersonate` of \
             the chart, or grant the verb `impersonate` on `serviceaccounts` in its namespace"
        );
    }
    let role = match namespace {
        Some(namespace) => format!("a Role in the namespace `{namespace}`"),
        None => "a ClusterRole".to_owned(),
    };
    format!("bind {role} to `{user}` with {{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verb}]}}")
}

/// `User "U" cannot VERB resource "R" in API group "G" in the namespace "N"`, or `at the cluster scope`.
#[derive(Debug, PartialEq)]
struct Missing<'m> {
    user: &'m str,
    verb: &'m str,
    resource: &'m str,
    group: &'m str,
    namespace: Option<&'m str>,
}

impl Missing<'_> {
    fn read(message: &str) -> Option<Missing<'_>> {
        let (_, rest) = message.split_once("User \"")?;
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, rest) = rest.split_once('"')?;
        let namespace = rest.split_once(" in the namespace \"").and_then(|(_, rest)| rest.split_once('"'));
        Some(Missing { user, verb, resource, group, namespace: namespace.map(|(namespace, _)| namespace) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_names_the_account_and_the_rule() {
        let check = |message: &str, expected: &str| assert_eq!(remedy(message), expected, "{message}");
        check(
            r#"configmaps "a" is forbidden: User "system:serviceaccount:eng:d" cannot patch resource "configmaps" in API group "" in the namespace "eng""#,
            r#"bind a Role in the namespace `eng` to `system:serviceaccount:eng:d` with {apiGroups: [""], resources: [configmaps], verbs: [patch]}"#,
        );
        check(
            r#"namespaces "zoe" is forbidden: User "engine" cannot delete resource "namespaces" in API group "" at the cluster scope"#,
            r#"bind a ClusterRole to `engine` with {apiGroups: [""], resources: [namespaces], verbs: [delete]}"#,
        );
        check(
            r#"serviceaccounts "d" is forbidden: User "engine" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "eng""#,
            "the trigger asks for this account, and `engine`, as which Lifeline runs, may not act as it: name it in `rbac.impersonate` of the chart, \
             or grant the verb `impersonate` on `serviceaccounts` in the namespace `eng`",
        );
        check(
            r#"configmaps "a" is forbidden: User "engine" cannot impersonate-on:serviceaccount:patch resource "configmaps" in API group "" in the namespace "eng""#,
            "the trigger asks for an account, and `engine`, as which Lifeline runs, may not act as it: name it in `rbac.impersonate` of the chart, \
             or grant the verb `impersonate` on `serviceaccounts` in its namespace",
        );
        check("status 403", "grant the identity Lifeline runs as this verb on this kind");
    }
}
