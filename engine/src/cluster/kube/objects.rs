//! The requests about one object: read, applied, made, deleted.
//!
//! Start at `KubeCluster::write`. A call is one request, and one more after an answer about another uid, or where fields that
//! are ours have another owner in the account of the server as well.

use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::request::{If, as_yaml, escaped, group_path, sent};
use super::served::Served;
use super::{FIELD_MANAGER, KubeCluster, ownership};
use crate::cluster::{Deletion, Error, LiveObject, ObjectKey};

/// The path of an object of a kind that is served so.
fn path_of(key: &ObjectKey, served: &Served) -> String {
    let mut path = group_path(key);
    if let (true, Some(namespace)) = (served.namespaced, &key.namespace) {
        path.push_str("/namespaces/");
        path.extend(escaped(namespace));
    }
    format!("{path}/{}/{}", escaped(&served.plural), escaped(&key.name))
}

impl KubeCluster {
    /// The path of an object, in the version of its key.
    async fn path(&self, key: &ObjectKey) -> Result<String, Error> {
        Ok(path_of(key, &self.served(key).await?))
    }

    /// One request about an object that may have been written in a version which is served no more: in another one, it is
    /// the same object.
    async fn ask_in_any_version(
        &self,
        verb: &str,
        key: &ObjectKey,
        content: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Answer, Error> {
        let mut is_again = false;
        loop {
            let (key, served) = self.served_in_any_version(key).await?;
            let answer = self.ask_as(self.account.as_ref(), verb, &path_of(&key, &served), content.clone()).await?;
            if !answer.is_unserved(&key) {
                return Ok(answer);
            }
            // Only that no kind is listed says that there is no object: a 404 may come from something on the way.
            self.served.lock().forget(&key);
            if is_again {
                return Err(match answer::refusal(&answer, &key) {
                    Error::UnknownKind { .. } => {
                        let message = format!("it answered 404 for {key}, a kind that it serves: {}", answer.message());
                        Error::Unavailable { message, retry_after: None, source: None }
                    }
                    // A webhook may deny with any code.
                    refused => refused,
                });
            }
            is_again = true;
        }
    }

    /// An answer that is no success, as an error; forgets a kind that is no longer served.
    pub(super) fn refused(&self, answer: &Answer, key: &ObjectKey) -> Error {
        if answer.is_unserved(key) {
            self.served.lock().forget(key);
        }
        answer::refusal(answer, key)
    }

    pub(super) async fn read(&self, key: &ObjectKey) -> Result<Option<LiveObject>, Error> {
        let answer = match self.ask_in_any_version("GET", key, None).await {
            // The last object of a kind is gone before its definition is.
            Err(Error::UnknownKind { .. }) => return Ok(None),
            answer => answer?,
        };
        if answer.is_missing(key) {
            return Ok(None);
        }
        if !answer.is_success() {
            return match self.refused(&answer, key) {
                Error::NamespaceMissing { .. } | Error::Gone => Ok(None),
                error => Err(error),
            };
        }
        answer::object(answer.body).map(Some)
    }

    async fn patch(
        &self,
        key: &ObjectKey,
        manifest: &Value,
        precondition: If<'_>,
        is_dry: bool,
    ) -> Result<Answer, Error> {
        let path = self.path(key).await?;
        let dry = if is_dry { "&dryRun=All" } else { "" };
        let query = format!("fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Strict{dry}");
        let body = as_yaml(&sent(key, manifest, precondition)).into_bytes();
        let content = Some(("application/apply-patch+yaml", body));
        let answer = self.ask_as(self.account.as_ref(), "PATCH", &format!("{path}?{query}"), content).await?;
        if let ("CustomResourceDefinition", Some(group), true) =
            (key.kind.as_str(), manifest["spec"]["group"].as_str(), answer.is_success() && !is_dry)
        {
            self.served.lock().forget_group(group);
            self.schemas.lock().forget_group(group);
        }
        Ok(answer)
    }

    /// One request. A server that refuses what was asked in this form is asked in the usual one: what is wrong with an object
    /// is said then.
    pub(super) async fn write_new(&self, key: &ObjectKey, manifest: &Value) -> Result<LiveObject, Error> {
        let answer = self.patch(key, manifest, If::None, false).await?;
        if answer.is_success() {
            return answer::object(answer.body);
        }
        match self.refused(&answer, key) {
            Error::Conflict { .. } | Error::Invalid { .. } | Error::Immutable { .. } | Error::Left { .. } => {
                Err(Error::Taken)
            }
            error => Err(error),
        }
    }

    pub(super) async fn write(
        &self,
        key: &ObjectKey,
        manifest: &Value,
        uid: Option<&str>,
        is_dry: bool,
    ) -> Result<LiveObject, Error> {
        let mut answer = self.patch(key, manifest, uid.map_or(If::Any, If::Uid), is_dry).await?;
        if let (Some(uid), 422, false, false) = (uid, answer.code, answer.is_other_uid(), is_dry)
            && let Some(again) = self.retake(key, manifest, uid).await?
        {
            answer = again;
        }
        if answer.is_success() {
            let shared = if is_dry { None } else { ownership::unshared(&answer.body) };
            if let Some(owners) = shared {
                answer = self.give(key, &answer.body, owners).await?;
            }
        }
        if answer.is_success() {
            return answer::object(answer.body);
        }
        if let (Some(uid), true) = (uid, answer.is_other_uid() || answer.is_missing(key)) {
            return Err(match self.read(key).await? {
                None => Error::Gone,
                Some(live) if live.uid != uid => Error::Replaced { uid: live.uid },
                Some(_) => self.refused(&answer, key),
            });
        }
        if let Some(fields) = answer.left_fields(manifest) {
            return Err(Error::Left { fields, message: answer.message() });
        }
        // An object in a namespace that is gone is gone itself.
        match (uid, self.refused(&answer, key)) {
            (Some(_), Error::NamespaceMissing { .. }) => Err(Error::Gone),
            (_, error) => Err(error),
        }
    }

    /// Applies a refused object once more, if others made theirs of items of ours: these are ours before. `None` if not.
    async fn retake(&self, key: &ObjectKey, manifest: &Value, uid: &str) -> Result<Option<Answer>, Error> {
        let path = self.path(key).await?;
        let live = self.ask_as(self.account.as_ref(), "GET", &path, None).await?;
        if !live.is_success() || live.body["metadata"]["uid"] != uid {
            return Ok(None);
        }
        let Some(owners) = ownership::retaken(&live.body, manifest) else { return Ok(None) };
        let given = self.give(key, &live.body, owners).await?;
        if !given.is_success() {
            return Err(self.refused(&given, key));
        }
        self.patch(key, manifest, If::Uid(uid), false).await.map(Some)
    }

    /// Changes whose the fields of an object are, and nothing else, as long as the object is as it was seen.
    async fn give(&self, key: &ObjectKey, live: &Value, owners: Value) -> Result<Answer, Error> {
        let path = self.path(key).await?;
        // No other object ever has this version.
        let patch = json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": owners},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
        ]);
        let content = Some(("application/json-patch+json", patch.to_string().into_bytes()));
        self.ask_as(self.account.as_ref(), "PATCH", &format!("{path}?fieldManager={FIELD_MANAGER}"), content).await
    }

    pub(super) async fn erase(&self, key: &ObjectKey, uid: &str) -> Result<Deletion, Error> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        });
        let content = Some(("application/json", options.to_string().into_bytes()));
        let answer = match self.ask_in_any_version("DELETE", key, content).await {
            Err(Error::UnknownKind { .. }) => return Ok(Deletion::Gone),
            answer => answer?,
        };
        if answer.is_success() {
            // What is still being finished is given back as an object, what is gone as a Status.
            return Ok(if answer.body["kind"] == "Status" { Deletion::Gone } else { Deletion::Terminating });
        }
        if answer.is_missing(key) {
            return Ok(Deletion::Gone);
        }
        match self.refused(&answer, key) {
            Error::NamespaceMissing { .. } | Error::Gone => Ok(Deletion::Gone),
            // Another uid lives there, or a namespace is being emptied already: look which.
            error @ Error::Conflict { .. } => match self.read(key).await? {
                Some(live) if live.uid == uid && live.deleting => Ok(Deletion::Terminating),
                Some(live) if live.uid == uid => Err(error),
                _ => Ok(Deletion::Gone),
            },
            error => Err(error),
        }
    }
}
