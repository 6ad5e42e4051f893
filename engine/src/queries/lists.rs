//! The lists that are read from the projection, now or as of an earlier moment.

use std::ops::Bound;
use std::time::Duration;

use lifeline_projections::as_of::{self, Piece};
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Lifecycle;
use lifeline_projections::reads::{
    self, ConflictRow, Filter, LifecycleRow, List, Noun, OwnedObjectRow, Page, ResourceRow, RuleRow,
};
use lifeline_projections::stuck;
use lifeline_store::Disk;

use super::{Dated, Error, Queries, When, blocking};
use crate::waits::{self, ByIntent};

/// Candidates looked at in one turn: a few milliseconds of them.
const CANDIDATES_MAX: usize = 1_000;

/// Resources of an earlier state given in one turn: each takes some reading.
const TRAILS_MAX: usize = 64;

/// A list over resources, read from the present state or from a piece of an earlier one.
struct Reading<T> {
    noun: Noun,
    now: fn(&Projection, &Filter, &Page) -> Result<List<T>, reads::Error>,
    then: fn(&Piece, &Filter, &Page) -> Result<List<T>, reads::Error>,
}

impl<D: Disk> Queries<D> {
    /// Resources, sorted by source and subject. A filter by trigger, cluster or phase wants those with such a lifecycle.
    ///
    /// # Errors
    /// When the question is not in order, or the state is not reached or not known.
    pub async fn resources(&self, filter: Filter, page: Page, when: When) -> Result<Dated<List<ResourceRow>>, Error> {
        let reading = Reading { noun: Noun::Resources, now: reads::resources, then: reads::resources };
        self.filtered(reading, filter, page, when).await
    }

    /// Lifecycles, sorted by source, subject, trigger and cluster.
    ///
    /// # Errors
    /// Those of [`Queries::resources`].
    pub async fn lifecycles(&self, filter: Filter, page: Page, when: When) -> Result<Dated<List<LifecycleRow>>, Error> {
        let reading = Reading { noun: Noun::Lifecycles, now: reads::lifecycles, then: reads::lifecycles };
        self.filtered(reading, filter, page, when).await
    }

    /// Objects held in clusters, each with the lifecycle that owns it, sorted by source, subject, trigger, cluster and object.
    ///
    /// # Errors
    /// Those of [`Queries::resources`].
    pub async fn objects(&self, filter: Filter, page: Page, when: When) -> Result<Dated<List<OwnedObjectRow>>, Error> {
        let reading = Reading { noun: Noun::Objects, now: reads::objects, then: reads::objects };
        self.filtered(reading, filter, page, when).await
    }

    /// Objects that more than one lifecycle claims, sorted by cluster and object.
    ///
    /// # Errors
    /// Those of [`Queries::resources`].
    pub async fn conflicts(&self, page: Page, when: When) -> Result<Dated<List<ConflictRow>>, Error> {
        self.whole(page, when, reads::conflicts).await
    }

    /// Lifecycles whose last attempt failed, and those whose decision waits for `longer_than` at least, the most urgent first.
    /// Those that wait by intent are left out.
    ///
    /// # Errors
    /// Those of [`Queries::resources`].
    pub async fn stuck(
        &self,
        longer_than: Duration,
        page: Page,
        when: When,
    ) -> Result<Dated<List<LifecycleRow>>, Error> {
        let now_unix_nanos = self.ages_until(when);
        let Some(end) = self.reach(when).await? else {
            let view = self.view.clone();
            let by_intent = blocking(move || {
                let (triggers, ground) =
                    view.read(|projection| (waits::triggers_with_work(projection), projection.ground().clone()));
                Ok(ByIntent::recorded(&view.log(), &ground, &triggers, &view.replays()))
            });
            let by_intent = by_intent.await?;
            let read = move |projection: &Projection, page: &Page| {
                let waits = |lifecycle: &Lifecycle| by_intent.why(lifecycle).is_some();
                stuck::stuck(projection, now_unix_nanos, longer_than, waits, page)
            };
            return self.present(page, read).await;
        };
        let (view, turn) = (self.view.clone(), self.past.turn().await);
        blocking(move || {
            let past = turn.at(&view.log(), end)?;
            let triggers = waits::triggers_with_work(&past);
            // What was held then is not known any more.
            let by_intent = ByIntent::recorded(&view.log(), past.ground(), &triggers, &[]);
            let waits = |lifecycle: &Lifecycle| by_intent.why(lifecycle).is_some();
            let answer = stuck::stuck(&past, now_unix_nanos, longer_than, waits, &page)?;
            Ok(Dated { answer, unix_nanos: past.ground().folded_unix_nanos })
        })
        .await
    }

    /// The rules in force, sorted by name.
    ///
    /// # Errors
    /// Those of [`Queries::resources`].
    pub async fn rules(&self, page: Page, when: When) -> Result<Dated<List<RuleRow>>, Error> {
        let Some(end) = self.reach(when).await? else {
            let read = |projection: &Projection, page: &Page| {
                reads::rules(projection.watermark(), &projection.ground().rules, page)
            };
            return self.present(page, read).await;
        };
        let view = self.view.clone();
        blocking(move || {
            let log = view.log();
            let records = view.read(|projection| projection.ground().rule_records.clone());
            let rules = as_of::rules(&log, &records, end)?;
            Ok(Dated { answer: reads::rules(end, &rules, &page)?, unix_nanos: as_of::time(&log, end)? })
        })
        .await
    }

    /// To when ages are counted: to now, or in an earlier state to its own time, which it knows itself.
    fn ages_until(&self, when: When) -> Option<u64> {
        when.as_of.is_none().then(|| self.clock.now_unix_nanos())
    }

    /// A list over resources; those of an earlier state are computed from their own records.
    async fn filtered<T: Send + 'static>(
        &self,
        reading: Reading<T>,
        filter: Filter,
        page: Page,
        when: When,
    ) -> Result<Dated<List<T>>, Error> {
        let filter = Filter { now_unix_nanos: self.ages_until(when), ..filter };
        let Some(end) = self.reach(when).await? else {
            return self.present(page, move |projection, page| (reading.now)(projection, &filter, page)).await;
        };
        let view = self.view.clone();
        blocking(move || {
            let log = view.log();
            let answer = in_turns(page, TRAILS_MAX, |page| {
                let (start, sieve) = (reading.noun.start(page)?, filter.sieve()?);
                let start = start
                    .as_ref()
                    .map_or(Bound::Unbounded, |start| start.as_ref().map(|key| (&*key.source, &*key.subject)));
                let (trails, landmarks) = view.read(|projection| {
                    // One more than is looked at: it shows that the list goes on.
                    let trails = projection.trails_from(start, sieve, end).take(TRAILS_MAX + 1);
                    (trails.collect::<Vec<_>>(), projection.landmarks().clone())
                });
                let piece = Piece::read(&log, &landmarks, &trails, TRAILS_MAX, end)?;
                Ok((reading.then)(&piece, &filter, page)?)
            })?;
            Ok(Dated { answer, unix_nanos: as_of::time(&log, end)? })
        })
        .await
    }

    /// A list from the whole of a state. What it is about is spread over all resources, so an earlier state is folded whole.
    async fn whole<T: Send + 'static>(
        &self,
        page: Page,
        when: When,
        read: impl Fn(&Projection, &Page) -> Result<List<T>, reads::Error> + Send + 'static,
    ) -> Result<Dated<List<T>>, Error> {
        let Some(end) = self.reach(when).await? else { return self.present(page, read).await };
        let (view, turn) = (self.view.clone(), self.past.turn().await);
        blocking(move || {
            let past = turn.at(&view.log(), end)?;
            Ok(Dated { answer: read(&past, &page)?, unix_nanos: past.ground().folded_unix_nanos })
        })
        .await
    }

    /// A page of the present state.
    async fn present<T: Send + 'static>(
        &self,
        page: Page,
        read: impl Fn(&Projection, &Page) -> Result<List<T>, reads::Error> + Send + 'static,
    ) -> Result<Dated<List<T>>, Error> {
        let view = self.view.clone();
        let turn = move |page: &Page| {
            view.read(|projection| Ok::<_, Error>((read(projection, page)?, projection.ground().folded_unix_nanos)))
        };
        // The first turn is short and nearly always the last one: handing it to another thread would take longer.
        let limit = page.limit.unwrap_or(reads::PAGE_ROWS);
        let (mut answer, unix_nanos) = turn(&Page { looks: Some(CANDIDATES_MAX), ..page.clone() })?;
        if answer.next.is_some() && answer.items.len() < limit {
            // The answer names the offset of the first turn: every row reflects what is below it, or more.
            let rest = Page { limit: Some(limit - answer.items.len()), after: answer.next.take(), ..page };
            let more = blocking(move || in_turns(rest, CANDIDATES_MAX, |page| Ok(turn(page)?.0))).await?;
            answer.items.extend(more.items);
            answer.next = more.next;
        }
        Ok(Dated { answer, unix_nanos })
    }
}

/// Reads a page a turn at a time, so that nobody holds the state for long.
fn in_turns<T>(
    mut page: Page,
    looks: usize,
    mut turn: impl FnMut(&Page) -> Result<List<T>, Error>,
) -> Result<List<T>, Error> {
    page.looks = Some(looks);
    let limit = page.limit.unwrap_or(reads::PAGE_ROWS);
    let mut list = turn(&page)?;
    while list.next.is_some() && list.items.len() < limit {
        page.limit = Some(limit - list.items.len());
        page.after = list.next.take();
        let more = turn(&page)?;
        list.items.extend(more.items);
        list.next = more.next;
    }
    Ok(list)
}
