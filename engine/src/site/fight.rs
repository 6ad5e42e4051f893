//! Objects that others change each time they are put back: how long to wait before the next time.
//!
//! Start at [`Fights::note`]. Time is an argument. Nothing survives a restart, after which an object may be put back
//! [`PUT_BACKS_MAX`] times at once again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lifeline_projections::fact::ObjectKey;
use tokio::time::Instant;

/// So often an object is put back without a pause within [`WINDOW`]. A person who edits an object and sees the edit go tries
/// it two or three times; a controller gets here within a second.
pub const PUT_BACKS_MAX: usize = 5;

/// The time in which put backs are counted, and the calm after which a fight is over. Controllers look at everything again
/// every ten minutes or less, so one that fights does so within this time.
pub const WINDOW: Duration = Duration::from_secs(600);

/// The first pause of a fight; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(10);

/// The longest pause. At that a fight costs six writes an hour, and the object is right again at the latest so long after the
/// other side gave in.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Objects that are kept account of. Those with the oldest drift are forgotten first.
const OBJECTS_MAX: usize = 4_096;

/// What is known of the objects that drifted lately.
#[derive(Debug, Default)]
pub struct Fights(BTreeMap<ObjectKey, Fight>);

#[derive(Debug, Default)]
struct Fight {
    /// The latest drifts, as many as matter.
    drifts: VecDeque<Instant>,
    /// Pauses so far; 0 while there is no fight.
    pauses: u32,
    until: Option<Instant>,
    manager: Option<String>,
}

/// A fight over an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fought {
    /// The object.
    pub object: ObjectKey,
    /// The field manager that changed it last; `None` where it is not known.
    pub manager: Option<String>,
    /// How long it is not put back from now on.
    pub pause: Duration,
}

impl Fights {
    /// Takes in that an object drifted and is to be put back.
    pub fn note(&mut self, object: &ObjectKey, manager: Option<&str>, now: Instant) {
        self.forget(now);
        if self.0.len() >= OBJECTS_MAX && !self.0.contains_key(object) {
            let oldest = self.0.iter().min_by_key(|(_, fight)| fight.drifts.back().copied());
            let oldest = oldest.map(|(object, _)| object.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let fight = self.0.entry(object.clone()).or_default();
        fight.drifts.push_back(now);
        fight.manager = manager.map(str::to_owned).or(fight.manager.take());
        if fight.drifts.len() > PUT_BACKS_MAX {
            fight.drifts.pop_front();
            let pause = (PAUSE_MIN * 2_u32.saturating_pow(fight.pauses.min(16))).min(PAUSE_MAX);
            fight.pauses += 1;
            fight.until = Some(now + pause);
        }
    }

    /// The fight over an object because of which it is not put back now.
    #[must_use]
    pub fn over(&self, object: &ObjectKey, now: Instant) -> Option<Fought> {
        let fight = self.0.get(object)?;
        let pause = fight.until?.checked_duration_since(now).filter(|pause| !pause.is_zero())?;
        Some(Fought { object: object.clone(), manager: fight.manager.clone(), pause })
    }

    /// All fights that are not over, by object.
    pub fn all(&self, now: Instant) -> impl Iterator<Item = Fought> {
        let fought = self.0.iter().filter(move |(_, fight)| fight.pauses > 0 && !fight.is_over(now));
        fought.map(move |(object, fight)| {
            let pause = fight.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            Fought { object: object.clone(), manager: fight.manager.clone(), pause }
        })
    }

    /// The objects that are fought over.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectKey> {
        self.0.iter().filter(|(_, fight)| fight.pauses > 0).map(|(object, _)| object)
    }

    /// Nobody puts an object back any more.
    pub fn end(&mut self, object: &ObjectKey) {
        self.0.remove(object);
    }

    fn forget(&mut self, now: Instant) {
        for fight in self.0.values_mut().filter(|fight| fight.pauses == 0) {
            while fight.drifts.front().is_some_and(|at| now.duration_since(*at) > WINDOW) {
                fight.drifts.pop_front();
            }
        }
        self.0.retain(|_, fight| !fight.is_over(now));
    }
}

impl Fight {
    /// Whether nothing happened for so long that nothing has to be known of it.
    fn is_over(&self, now: Instant) -> bool {
        match self.until {
            Some(until) => now.saturating_duration_since(until) > WINDOW,
            None => self.drifts.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> ObjectKey {
        ObjectKey::of_namespace(name)
    }

    /// An object drifts at these moments, in seconds. How long it is left then, after the last of them.
    fn check(seconds: &[u64], pause: Option<u64>) {
        let (mut fights, begin) = (Fights::default(), Instant::now());
        let mut now = begin;
        for second in seconds {
            now = begin + Duration::from_secs(*second);
            fights.note(&object("a"), Some("other"), now);
        }
        let fought = fights.over(&object("a"), now);
        assert_eq!(fought.as_ref().map(|fought| fought.pause.as_secs()), pause, "{seconds:?}");
        assert_eq!(fought.and_then(|fought| fought.manager).is_some(), pause.is_some());
        assert_eq!(fights.over(&object("b"), now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_put_back_a_few_times_and_then_with_growing_pauses() {
        check(&[0], None);
        check(&[0, 1, 2, 3, 4], None);
        check(&[0, 1, 2, 3, 4, 5], Some(10));
        check(&[0, 1, 2, 3, 4, 5, 15], Some(20));
        check(&[0, 1, 2, 3, 4, 5, 15, 35, 75, 155, 315, 635], Some(600));
        check(&[0, 1, 2, 3, 4, 5, 15, 35, 75, 155, 315, 635, 1_235], Some(600));
        // Drifts now and then are no fight.
        check(&[0, 200, 400, 600, 800, 1_000], None);
        // One is over after some calm.
        check(&[0, 1, 2, 3, 4, 5, 616], None);
        check(&[0, 1, 2, 3, 4, 5, 614], Some(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fight_is_told_while_it_lasts_and_few_objects_are_remembered() {
        let (mut fights, begin) = (Fights::default(), Instant::now());
        for _ in 0..6 {
            fights.note(&object("a"), None, begin);
        }
        let told = |fights: &Fights, seconds| fights.all(begin + Duration::from_secs(seconds)).count();
        assert_eq!([told(&fights, 0), told(&fights, 600), told(&fights, 611)], [1, 1, 0]);
        for name in 0..OBJECTS_MAX + 10 {
            fights.note(&object(&name.to_string()), None, begin + Duration::from_secs(1));
        }
        assert_eq!(fights.0.len(), OBJECTS_MAX);
        assert_eq!(told(&fights, 0), 0, "the oldest drift is forgotten first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fight_ends_with_what_was_put_back() {
        let (mut fights, now) = (Fights::default(), Instant::now());
        for name in ["a", "a", "a", "a", "a", "a", "b"] {
            fights.note(&object(name), None, now);
        }
        assert_eq!(fights.objects().collect::<Vec<_>>(), [&object("a")], "few drifts are no fight");
        fights.end(&object("a"));
        assert_eq!((fights.all(now).count(), fights.over(&object("a"), now)), (0, None));
    }
}
