//! What a cluster may answer instead of doing what it was asked: one variant per thing the caller does differently.
//!
//! Never the text of a cause twice: what a client library said is in the source chain.

use std::time::Duration;

use serde_json::Value;

use super::rights;
use crate::confidential::masked;

/// Why a cluster did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is refused. The same manifest is refused again: wait for another rule or event.
    #[error("the cluster refuses the object: {message}")]
    Invalid {
        /// What the API server said about it.
        message: String,
    },
    /// A field of the live object can never change. Retry slowly: somebody may delete the object, or it may be made again.
    #[error("the cluster refuses the object: {message}")]
    Immutable {
        /// The fields, as the API server names them.
        fields: String,
        /// What the API server said about them.
        message: String,
    },
    /// A field that the manifest does not give keeps the value it has, and no longer fits the others. Retry slowly: as above.
    #[error("the cluster refuses the object: {message}")]
    Left {
        /// The fields, as the API server names them.
        fields: String,
        /// What the API server said about them.
        message: String,
    },
    /// Somebody else denies it: a webhook, a policy, a quota. The request itself is sound. Retry slowly: who denies it may
    /// come to allow it.
    #[error("{by} denies it: {message}\nhint: {remedy}")]
    Denied {
        /// Who, such as "the admission webhook `x`".
        by: String,
        /// What the API server said about it.
        message: String,
        /// What somebody can do about it.
        remedy: &'static str,
    },
    /// The identity in use may not do this. Retry slowly: rights may be granted.
    #[error("the cluster forbids it: {message}\nhint: {}", rights::remedy(message))]
    Forbidden {
        /// What the API server said about it.
        message: String,
    },
    /// The credentials in use are not accepted. Retry slowly: they may be renewed.
    #[error(
        "the cluster does not accept the credentials: {message}\nhint: renew the token or certificate of the kubeconfig or service account"
    )]
    Unauthorized {
        /// What the API server said about it.
        message: String,
    },
    /// The cluster cannot even be asked: a kubeconfig that is missing or wrong. Only at start-up.
    #[error("{message}")]
    Misconfigured {
        /// What is wrong, and the remedy.
        message: String,
        /// What the client library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cluster does not serve this kind. Retry slowly: a CustomResourceDefinition may come.
    #[error(
        "the cluster does not know `{kind}` of `{api_version}`\nhint: install its CustomResourceDefinition, or correct `apiVersion` and `kind`"
    )]
    UnknownKind {
        /// `apiVersion` of the manifest.
        api_version: String,
        /// `kind` of the manifest.
        kind: String,
    },
    /// The namespace of the object does not exist. Retry: something else may be about to make it.
    #[error("the namespace `{namespace}` does not exist\nhint: let the rule (or an earlier one) create it")]
    NamespaceMissing {
        /// The missing namespace.
        namespace: String,
    },
    /// The namespace of the object is being deleted, so nothing can be made in it. Retry: it may come again.
    #[error("the namespace `{namespace}` is being deleted")]
    NamespaceTerminating {
        /// The namespace on its way out.
        namespace: String,
    },
    /// Somebody else changed the object at the same moment. Retry at once.
    #[error("the object changed meanwhile: {message}")]
    Conflict {
        /// What the API server said about it.
        message: String,
    },
    /// An object was to be changed under its uid, and no object has its name any more. Decide again.
    #[error("the object is gone")]
    Gone,
    /// An object was to be made, and one of its name is there. Look whose it is.
    #[error("an object of this name exists")]
    Taken,
    /// An object was to be changed under its uid, and another now has its name. Decide again.
    #[error("the object was replaced by another of the same name, uid `{uid}`")]
    Replaced {
        /// The uid that lives under the name now.
        uid: String,
    },
    /// The cluster has too many requests, and did nothing about this one. Ask nothing for the pause.
    #[error("the cluster has too many requests: {message}")]
    Throttled {
        /// What the API server said.
        message: String,
        /// How long it asks to be left alone.
        retry_after: Duration,
    },
    /// The cluster could not answer: network, timeout, overload, an error of its own. Retry with growing pauses.
    #[error("the cluster is unavailable: {message}")]
    Unavailable {
        /// What could not be done.
        message: String,
        /// How long the server asked to be left alone, where it said so.
        retry_after: Option<Duration>,
        /// What the disk or the client library said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Error {
    /// The same error without the values of the manifest that it is about.
    #[must_use]
    pub(crate) fn without_values(mut self, manifest: &Value) -> Error {
        match &mut self {
            Error::Invalid { message }
            | Error::Immutable { message, .. }
            | Error::Left { message, .. }
            | Error::Denied { message, .. }
            | Error::Forbidden { message }
            | Error::Conflict { message }
            | Error::Unavailable { message, .. } => *message = masked(message, manifest),
            Error::Unauthorized { .. }
            | Error::Misconfigured { .. }
            | Error::UnknownKind { .. }
            | Error::NamespaceMissing { .. }
            | Error::NamespaceTerminating { .. }
            | Error::Gone
            | Error::Taken
            | Error::Replaced { .. }
            | Error::Throttled { .. } => {}
        }
        self
    }

    /// Whether the same call may succeed soon without anybody changing a rule, a right or a definition.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::NamespaceMissing { .. }
            | Error::NamespaceTerminating { .. }
            | Error::Conflict { .. }
            | Error::Throttled { .. }
            | Error::Unavailable { .. } => true,
            Error::Invalid { .. }
            | Error::Immutable { .. }
            | Error::Left { .. }
            | Error::Denied { .. }
            | Error::Forbidden { .. }
            | Error::Unauthorized { .. }
            | Error::Misconfigured { .. }
            | Error::UnknownKind { .. }
            | Error::Gone
            | Error::Taken
            | Error::Replaced { .. } => false,
        }
    }

    /// One word for conditions and metrics; stable.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Invalid { .. } => "Invalid",
            Error::Immutable { .. } => "Immutable",
            Error::Left { .. } => "Left",
            Error::Denied { .. } => "Denied",
            Error::Forbidden { .. } => "Forbidden",
            Error::Unauthorized { .. } => "Unauthorized",
            Error::Misconfigured { .. } => "Misconfigured",
            Error::UnknownKind { .. } => "UnknownKind",
            Error::NamespaceMissing { .. } => "NamespaceMissing",
            Error::NamespaceTerminating { .. } => "NamespaceTerminating",
            Error::Conflict { .. } => "Conflict",
            Error::Gone => "Gone",
            Error::Taken => "Taken",
            Error::Replaced { .. } => "Replaced",
            Error::Throttled { .. } => "Throttled",
            Error::Unavailable { .. } => "Unavailable",
        }
    }

    /// How long the server asked to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Throttled { retry_after, .. } => Some(*retry_after),
            Error::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::Invalid { message: message.into() }
    }
}
