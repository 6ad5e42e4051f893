//! Why: an object, and an event.

use lifeline_projections::detail::EventDetail;
use lifeline_projections::fact::{EventReceived, Fact, ResourceKey};
use lifeline_projections::reads::LifecycleRow;
use lifeline_projections::why::event::{self, Unmatched, Verdict, WhyEvent};
use lifeline_projections::why::object::{self, KeyWhy, ListWhy, Question, Search, WhyObject};
use lifeline_store::{Disk, Offset};

use super::{At, Error, Queries, blocking};
use crate::kinds;
use crate::lists;
use crate::rules::{Clusters, EventView, named_objects, recorded};
use crate::view::View;

/// Resources looked at in one turn: a few milliseconds of them.
const RESOURCES_SEARCHED_MAX: usize = 10_000;

/// Live keys of a list that an answer names.
const KEYS_LISTED_MAX: usize = 20;

impl<D: Disk> Queries<D> {
    /// Why an object is as it is: the lifecycle that holds it, the event, the rule, and what was applied; or why it is gone.
    ///
    /// # Errors
    /// When the process is on its way out. What the log does not say is said in the answer.
    pub async fn why_object(&self, question: Question) -> Result<At<WhyObject>, Error> {
        let view = self.view.clone();
        blocking(move || {
            let called = question.kind;
            let mut search = Search::new(Question { kind: kinds::meant(&called).to_owned(), ..question });
            let offset = view.read(|projection| projection.watermark());
            while view.read(|projection| search.look(projection, RESOURCES_SEARCHED_MAX)) {}
            let rules = view.read(|projection| projection.ground().rules.clone());
            let current = |key: &ResourceKey| view.read(|projection| projection.resource(&key.source, &key.subject));
            let mut item = search.answer(&view.log(), &rules, current, named_objects);
            item.list = item.lifecycle.as_ref().and_then(|row| list(&view, row));
            if item.verdict == object::Verdict::Unknown {
                item.notes.extend(kinds::doubt(&called));
            }
            Ok(At { offset, item })
        })
        .await
    }

    /// The record at an offset in full, with what came of it.
    ///
    /// # Errors
    /// Those of [`Queries::why_event`].
    pub async fn event(&self, at: Offset) -> Result<At<EventDetail>, Error> {
        let At { offset, item: why } = self.why_event(at).await?;
        let view = self.view.clone();
        blocking(move || {
            let log = view.log();
            // Retention may have gone on meanwhile.
            let start = log.start();
            let record = log.read(at)?.ok_or(event::Error::Forgotten { offset: at, start })?;
            Ok(At { offset, item: EventDetail::of(why, &record.payload) })
        })
        .await
    }

    /// What came of the record at an offset: the decisions, what they caused, and why nothing where nothing happened.
    ///
    /// # Errors
    /// When the log does not hold the record, or cannot be read.
    pub async fn why_event(&self, at: Offset) -> Result<At<WhyEvent>, Error> {
        let view = self.view.clone();
        blocking(move || {
            let offset = view.read(|projection| projection.watermark());
            let current = |key: &ResourceKey| view.read(|projection| projection.resource(&key.source, &key.subject));
            let mut item = event::event(&view.log(), at, current)?;
            if item.verdict == Verdict::Nothing && item.triggers.is_empty() {
                item.unmatched = unmatched(&view, at);
                if let Some(unmatched) = &item.unmatched {
                    item.summary = format!("Nothing happened: {}.", unmatched.reason);
                }
            }
            Ok(At { offset, item })
        })
        .await
    }
}

/// The live keys behind a list; `None` where the lifecycle is none.
fn list<D: Disk>(view: &View<D>, row: &LifecycleRow) -> Option<ListWhy> {
    let LifecycleRow { trigger, cluster, .. } = row;
    if !row.source.is_empty() {
        return None;
    }
    let live = view.read(|projection| {
        projection.keys_of(trigger).find(|(of, _)| ***of == **cluster).map_or(0, |(_, keys)| keys.live)
    });
    let keys = lists::keys(view, trigger, cluster).into_iter().take(KEYS_LISTED_MAX);
    let keys = keys.map(|(ResourceKey { source, subject }, event)| KeyWhy {
        source: source.to_string(),
        subject: subject.to_string(),
        event: event.get(),
    });
    Some(ListWhy { live, keys: keys.collect() })
}

/// Why no trigger spoke of the event, by the rules that the log holds.
fn unmatched<D: Disk>(view: &View<D>, at: Offset) -> Option<Unmatched> {
    let log = view.log();
    let record = log.read(at).ok()??;
    let Ok(Fact::Event(EventReceived { delivery, source, subject, kind, headers, payload, .. })) =
        Fact::decode(&record.payload)
    else {
        return None;
    };
    let marks = view.read(|projection| projection.ground().rules.clone());
    let rules = recorded(&log, &marks, Clusters::default());
    let event = EventView { nats_subject: delivery.subject, source, kind, subject, headers: &headers, payload };
    Some(rules.unmatched(&event, delivery.cluster, at, |rule| marks.get(rule).map(|mark| mark.record)))
}
