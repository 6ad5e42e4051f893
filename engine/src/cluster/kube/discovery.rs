//! Discovery: which kinds a server has, and in which versions.
//!
//! Start at [`KubeCluster::served`]. What was learnt is remembered in `served`.

use tokio::time::Instant;

use super::KubeCluster;
use super::answer::{self, Answer};
use super::request::{self, group_path};
use super::served::{Found, Served};
use crate::cluster::{Error, ObjectKey};

impl KubeCluster {
    /// How the kind of a key is served; asks the server where it is not known.
    pub(super) async fn served(&self, key: &ObjectKey) -> Result<Served, Error> {
        let unknown = || Error::UnknownKind { api_version: key.api_version(), kind: key.kind.to_string() };
        let known = |found| match found {
            Found::Served(served) => Some(Ok(served)),
            Found::Unserved => Some(Err(unknown())),
            Found::Unknown => None,
        };
        if let Some(outcome) = known(self.served.lock().find(key, Instant::now())) {
            return outcome;
        }
        // An aggregated API may hang: nobody waits for the questions of many others, one after the other.
        let asking = self.served.lock().asking(key);
        let asking = tokio::time::timeout(self.read_timeout, asking.lock_owned()).await;
        let _asking = asking.map_err(|elapsed| self.silent(self.read_timeout, elapsed))?;
        // Another task may have asked while this one waited.
        if let Some(outcome) = known(self.served.lock().find(key, Instant::now())) {
            return outcome;
        }
        let answer = self.discovered(&group_path(key)).await?;
        let list = match &answer {
            None => None,
            Some(answer) if answer.code == 200 && answer.body["resources"].is_array() => Some(&answer.body),
            Some(answer) if answer.code == 200 => {
                return Err(Error::Unavailable {
                    message: format!("{} listed no kinds of `{}`", self.name, key.api_version()),
                    retry_after: None,
                    source: None,
                });
            }
            Some(answer) => return Err(answer::refusal(answer, key)),
        };
        let mut served = self.served.lock();
        let now = Instant::now();
        served.learn(&key.group, &key.version, list, now);
        known(served.find(key, now)).unwrap_or_else(|| Err(unknown()))
    }

    /// An answer of discovery; `None` where the API server has none at this path. Something on the way to it may answer 404 to
    /// everything: so the server is asked for its groups then, which it always lists.
    async fn discovered(&self, path: &str) -> Result<Option<Answer>, Error> {
        let answer = self.ask("GET", path, None).await?;
        if answer.code != 404 {
            return Ok(Some(answer));
        }
        let groups = self.ask("GET", "/apis", None).await?;
        if groups.is_success() && groups.body["groups"].is_array() {
            return Ok(None);
        }
        let message = format!("{} answered 404 for `{path}`, and lists no API groups: {}", self.name, groups.message());
        Err(Error::Unavailable { message, retry_after: None, source: None })
    }

    /// How a key's kind is served, in its version or else in another one of its group; the key has that version.
    pub(super) async fn served_in_any_version(&self, key: &ObjectKey) -> Result<(ObjectKey, Served), Error> {
        let unserved = match self.served(key).await {
            Err(error @ Error::UnknownKind { .. }) if !key.group.is_empty() => error,
            served => return served.map(|served| (key.clone(), served)),
        };
        let path = format!("/apis/{}", request::escaped(&key.group));
        let Some(answer) = self.discovered(&path).await? else { return Err(unserved) };
        if !answer.is_success() {
            return Err(answer::refusal(&answer, key));
        }
        for version in answer.body["versions"].as_array().into_iter().flatten() {
            let Some(version) = version["version"].as_str().filter(|version| *version != key.version) else { continue };
            let other = ObjectKey { version: version.into(), ..key.clone() };
            match self.served(&other).await {
                Err(Error::UnknownKind { .. }) => {}
                // It was never an object of this kind.
                Ok(served) if served.namespaced != other.namespace.is_some() => {}
                served => return served.map(|served| (other, served)),
            }
        }
        Err(unserved)
    }
}
