//! Projections of short stories: what tests of decisions about several lifecycles have in common.
//!
//! Start at [`folded`]. Each lifecycle is that of a subject under one trigger.

use lifeline_projections::fact::{
    AppliedObject, Decision, Delivery, EventReceived, Fact, LifecycleKey, ObjectKey, Reconciled, Redecision, Redesired,
    ResourceKey, Ruling, TriggerReplayed, What,
};
use lifeline_projections::fold::Projection;
use lifeline_store::Offset;

use crate::reconcile::task::Task;

/// What can happen to the lifecycle of a subject.
#[derive(Debug, Clone, Copy)]
pub enum Then {
    /// It shall be present.
    Create,
    /// It shall be absent.
    Delete,
    /// Its trigger is gone and leaves what it made.
    Left,
    /// An object is about to be changed.
    Intends(&'static str),
    /// An object was applied for the decision at this offset, and lives under this uid.
    Applied(&'static str, u64, &'static str),
}

/// A Namespace, or with a slash the ConfigMap in one.
pub fn object(name: &str) -> ObjectKey {
    let Some((namespace, name)) = name.split_once('/') else { return ObjectKey::of_namespace(name) };
    ObjectKey { kind: "ConfigMap".into(), namespace: Some(namespace.into()), ..ObjectKey::of_namespace(name) }
}

/// The lifecycle of a subject, as facts name it.
pub fn key(subject: &str) -> LifecycleKey {
    let resource = ResourceKey { source: "auth".into(), subject: subject.into() };
    LifecycleKey { trigger: "manage".into(), cluster: "mgmt/mgmt".into(), resource }
}

/// The task of a subject's lifecycle, which has something to do.
pub fn task(projection: &Projection, subject: &str) -> Task {
    let index = projection.lifecycle_index(&key(subject)).expect("it was decided");
    Task::of(projection, index).expect("it needs work")
}

/// What is known after this has happened, recorded from offset 0 on.
pub fn folded(story: &[(&str, Then)]) -> Projection {
    let mut projection = Projection::default();
    for ((subject, then), offset) in story.iter().zip(0..) {
        let at = Offset::from(offset);
        let latest = projection.last_record("auth", subject);
        let reconciled = |acted_for: Offset, what: What| {
            Fact::Reconciled(Reconciled { previous: latest, ..Reconciled::new(key(subject), acted_for, what) })
        };
        let fact = match then {
            Then::Create => event(subject, offset, latest, Ruling::Create),
            Then::Delete => event(subject, offset, latest, Ruling::Delete),
            Then::Left => {
                let LifecycleKey { trigger, cluster, resource } = key(subject);
                let redecision = Redecision { cluster, resource, desired: Redesired::Left, previous: latest };
                let redecisions = vec![redecision];
                let digest = None;
                Fact::Replay(TriggerReplayed {
                    trigger,
                    digest,
                    leaves: true,
                    complete: true,
                    redecisions,
                    allowance: None,
                })
            }
            Then::Intends(name) => reconciled(at, What::Intended(vec![object(name)])),
            Then::Applied(name, acted_for, uid) => {
                let applied = AppliedObject { object: object(name), uid: (*uid).into(), digest: 7, fields: 0 };
                reconciled(Offset::from(*acted_for), What::Applied(vec![applied]))
            }
        };
        projection.fold(at, offset, &fact, &mut Vec::new());
    }
    projection
}

fn event<'a>(subject: &'a str, sequence: u64, previous: Option<Offset>, ruling: Ruling<'a>) -> Fact<'a> {
    let delivery = Delivery {
        cluster: "mgmt/mgmt",
        stream: "USERS",
        epoch: 1,
        sequence: sequence + 1,
        published_unix_nanos: 1,
        subject: "users",
    };
    let decisions = vec![Decision { trigger: "manage", event_source: "users", criterion: 0, ruling }];
    let (headers, payload) = (Vec::new(), "{}".as_bytes());
    Fact::Event(EventReceived {
        delivery,
        source: "auth",
        subject,
        kind: "login",
        id: "1",
        previous,
        decisions,
        headers,
        payload,
        redriven: None,
        order: None,
    })
}
