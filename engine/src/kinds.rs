//! What people call the kinds built into Kubernetes: in any case, by their plurals, and by the short names of `kubectl`.
//!
//! Start at [`meant`]. Kinds of CustomResourceDefinitions are not known here, so a word that means no kind is never refused:
//! [`doubt`] says what it may be a slip of.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::builtin;

/// The short names that a server of Kubernetes tells for its kinds.
const SHORT: [(&str, &str); 27] = [
    ("cj", "CronJob"),
    ("cm", "ConfigMap"),
    ("crd", "CustomResourceDefinition"),
    ("crds", "CustomResourceDefinition"),
    ("csr", "CertificateSigningRequest"),
    ("deploy", "Deployment"),
    ("ds", "DaemonSet"),
    ("ep", "Endpoints"),
    ("ev", "Event"),
    ("hpa", "HorizontalPodAutoscaler"),
    ("ing", "Ingress"),
    ("limits", "LimitRange"),
    ("netpol", "NetworkPolicy"),
    ("no", "Node"),
    ("ns", "Namespace"),
    ("pc", "PriorityClass"),
    ("pdb", "PodDisruptionBudget"),
    ("po", "Pod"),
    ("pv", "PersistentVolume"),
    ("pvc", "PersistentVolumeClaim"),
    ("quota", "ResourceQuota"),
    ("rc", "ReplicationController"),
    ("rs", "ReplicaSet"),
    ("sa", "ServiceAccount"),
    ("sc", "StorageClass"),
    ("sts", "StatefulSet"),
    ("svc", "Service"),
];

/// Edits between a word and the kind that it may be a slip of, at most.
const SLIP_MAX: usize = 2;

/// Words in lower case, each with the kind that it means.
static WORDS: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let mut words: BTreeMap<String, &'static str> = BTreeMap::new();
    for kind in builtin::names() {
        let singular = kind.to_lowercase();
        words.insert(plural(&singular), kind);
        words.insert(singular, kind);
    }
    words.extend(SHORT.map(|(word, kind)| (word.to_owned(), kind)));
    words
});

/// The kind that a word means; the word itself where no built-in kind is called so.
#[must_use]
pub fn meant(word: &str) -> &str {
    known(word).unwrap_or(word)
}

/// What a word may be a slip of, in a sentence; `None` where a built-in kind is called so, or none is spelled alike.
#[must_use]
pub fn doubt(word: &str) -> Option<String> {
    if known(word).is_some() {
        return None;
    }
    let typed = word.to_lowercase();
    // Three letters are two edits from nearly anything.
    let max = SLIP_MAX.min(typed.chars().count() / 3);
    let near = WORDS.iter().map(|(word, kind)| (strsim::damerau_levenshtein(&typed, word), *kind));
    let (_, kind) = near.filter(|(distance, _)| *distance <= max).min()?;
    Some(format!("kind `{word}` is not built into Kubernetes: `{kind}` is spelled alike"))
}

fn known(word: &str) -> Option<&'static str> {
    WORDS.get(&word.to_lowercase()).copied()
}

/// The plural by which a server calls a kind.
fn plural(singular: &str) -> String {
    match singular.strip_suffix('y') {
        _ if singular == "endpoints" => singular.to_owned(),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if singular.ends_with('s') => format!("{singular}es"),
        _ => format!("{singular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_called_by_their_names_plurals_and_short_names() {
        let check = |word: &str, expected: &str| assert_eq!(meant(word), expected, "{word}");
        check("Namespace", "Namespace");
        check("namespaces", "Namespace");
        check("NS", "Namespace");
        check("cm", "ConfigMap");
        check("secrets", "Secret");
        check("deploy", "Deployment");
        check("svc", "Service");
        check("sa", "ServiceAccount");
        check("po", "Pod");
        check("job", "Job");
        check("jobs", "Job");
        check("cj", "CronJob");
        check("ingresses", "Ingress");
        check("ingressclasses", "IngressClass");
        check("networkpolicies", "NetworkPolicy");
        check("netpol", "NetworkPolicy");
        check("endpoints", "Endpoints");
        check("pvc", "PersistentVolumeClaim");
        check("crds", "CustomResourceDefinition");
        check("ciliumnetworkpolicies", "ciliumnetworkpolicies");
        check("Widget", "Widget");
        check("", "");
    }

    #[test]
    fn every_short_name_means_a_kind_that_is_built_in() {
        let names = builtin::names();
        for (word, kind) in SHORT {
            assert!(names.contains(kind), "{word}: {kind}");
        }
    }

    #[test]
    fn a_slip_is_named_and_a_kind_of_somebody_else_is_not() {
        let check = |word: &str, expected: Option<&str>| {
            let doubt = doubt(word);
            let is_right = match expected {
                Some(kind) => doubt.as_ref().is_some_and(|text| text.contains(&format!(": `{kind}` is"))),
                None => doubt.is_none(),
            };
            assert!(is_right, "{word}: {doubt:?}");
        };
        check("Nmespace", Some("Namespace"));
        check("namspaces", Some("Namespace"));
        check("Secert", Some("Secret"));
        check("deployent", Some("Deployment"));
        check("ns", None);
        check("xx", None);
        check("Widget", None);
        check("HelmRelease", None);
    }
}
