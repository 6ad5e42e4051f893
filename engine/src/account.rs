//! In whose name a cluster is asked, where that is not the engine's own.

use std::fmt;

/// A service account. Its objects are touched with its rights, and no others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// The namespace that it is in.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl Account {
    /// The account of these names; `None` where Kubernetes would not have one named like this.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Option<Account> {
        // RFC 1123: a namespace is a label, an account a subdomain.
        let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_label = |text: &str, longest: usize| {
            let bytes = text.as_bytes();
            bytes.len() <= longest
                && bytes.first().is_some_and(|byte| is_edge(*byte))
                && bytes.last().is_some_and(|byte| is_edge(*byte))
                && bytes.iter().all(|byte| is_edge(*byte) || *byte == b'-')
        };
        let is_sound = is_label(namespace, 63) && name.len() <= 253 && name.split('.').all(|part| is_label(part, 253));
        is_sound.then(|| Account { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// The name by which an API server and RBAC know it.
impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_names_that_kubernetes_takes_and_nothing_that_a_header_could_not_hold() {
        let check = |namespace: &str, name: &str, expected: Option<&str>| {
            let found = Account::new(namespace, name).map(|account| account.to_string());
            assert_eq!(found.as_deref(), expected, "{namespace:?}, {name:?}");
        };
        check("eng", "deployer", Some("system:serviceaccount:eng:deployer"));
        check("eng-1", "a.b-c", Some("system:serviceaccount:eng-1:a.b-c"));
        check("", "deployer", None);
        check("eng", "", None);
        check("eng:x", "deployer", None);
        check("eng", "a:b", None);
        check("eng", "a\r\nb", None);
        check("eng.x", "a", None);
        check("Eng", "a", None);
        check("eng", "-a", None);
        check("eng", "a..b", None);
    }
}
