//! The warnings of a status, as sentences: the thing, what is the matter with it, and after a newline what to do. Pure.
//!
//! What each of them means is in `docs/MESSAGES.md`. Never here: the warnings of a stream, which [`crate::intake`] gives, and
//! those of rules.

use std::collections::BTreeSet;

use lifeline_projections::count;

use crate::clock::moment;
use crate::intake::way;
use crate::status::{
    BudgetStatus, FightStatus, HeldBackStatus, HistoryStatus, PlainStatus, SiteStatus, UnwatchedStatus,
};

/// A sentence with a remedy, where its cause brought none.
fn with_hint(sentence: String, hint: &str) -> String {
    if sentence.contains("\nhint: ") { sentence } else { format!("{sentence}\nhint: {hint}") }
}

/// No checkpoint can be written.
pub(crate) fn not_saved(why: &str) -> String {
    with_hint(
        format!("the state is not saved, the next start reads more of the log: {why}"),
        "look at the room and the rights of the data folder; it is tried again by itself",
    )
}

/// A replay cannot be completed.
pub(crate) fn left(trigger: &str, reason: &str) -> String {
    format!("the replay of `{trigger}` leaves resources as they are: {reason}")
}

/// The log has a time that is to come.
pub(crate) fn ahead(newest_unix_nanos: u64) -> String {
    let newest = moment(newest_unix_nanos);
    format!(
        "the newest record has the time {newest}, which is to come: all records get that time until then, for times in a log \
         never fall\nhint: look at the clock of this machine; ask by offset, not by time, about what is recorded meanwhile"
    )
}

/// A subject is read without a stream.
pub(crate) fn plain(not_durable: &str, plain: &PlainStatus) -> String {
    let PlainStatus { subject, because, dropped, interruptions } = plain;
    let dropped = (*dropped > 0).then(|| format!("{} dropped", count(*dropped, "event")));
    let interrupted =
        (*interruptions > 0).then(|| format!("{} that may have lost more", count(*interruptions, "interruption")));
    let lost: Vec<String> = dropped.into_iter().chain(interrupted).collect();
    let lost = if lost.is_empty() { String::new() } else { format!("; since the start {}", lost.join(", and ")) };
    let hint = way::remedy(subject, because);
    format!("subject `{subject}` is {not_durable}{lost}: {because}\nhint: {hint}")
}

/// Lifecycles of clusters that this engine has nothing to do with.
pub(crate) fn stranded(lifecycles: usize, clusters: &BTreeSet<String>) -> String {
    let clusters = clusters.iter().map(|cluster| format!("`{cluster}`")).collect::<Vec<_>>().join(", ");
    let (lifecycles, verb) = (lifecycles as u64, if lifecycles == 1 { "waits" } else { "wait" });
    format!(
        "{} {verb}: the log has them for {clusters}, which this engine does not work for\nhint: `lifeline get lifecycles` lists them; \
         where they are of no use any more, begin a new log in another data folder",
        count(lifecycles, "lifecycle")
    )
}

/// All that is the matter with a site, but for its orphans.
pub(crate) fn of_site(site: &SiteStatus) -> Vec<String> {
    let SiteStatus { cluster, api_server, unavailable, held_back, budget, history, drift, .. } = site;
    let at = format!("cluster `{cluster}` ({api_server})");
    let unavailable = unavailable.iter().map(|why| self::unavailable(&at, why));
    let held_back = held_back.iter().map(|one| self::held_back(&at, one));
    let throttled = (budget.pause_seconds > 0).then(|| throttled(&at, budget));
    let unread = history.iter().map(|history| unread(cluster, history));
    let unwatched = drift.unwatched.iter().map(|one| unwatched(&at, one));
    let fights = drift.fights.iter().map(|fight| fought(cluster, fight));
    unavailable.chain(held_back).chain(throttled).chain(unread).chain(unwatched).chain(fights).collect()
}

fn unavailable(at: &str, why: &str) -> String {
    with_hint(
        format!("{at} is not available, its lifecycles wait: {why}"),
        "look at the API server and the way to it; work goes on by itself once it answers",
    )
}

fn held_back(at: &str, held_back: &HeldBackStatus) -> String {
    let HeldBackStatus { kind, verb, seconds, waiting, because } = held_back;
    let waiting = waits(*waiting, "lifecycle");
    with_hint(
        format!("{at} does not answer `{verb}` of {kind}: held back for {seconds} s, {waiting}: {because}"),
        "look for a webhook, an aggregated API or a conversion of this kind that does not answer",
    )
}

fn throttled(at: &str, budget: &BudgetStatus) -> String {
    let BudgetStatus { waiting, pause_seconds, .. } = budget;
    let waiting = waits(*waiting, "request");
    format!("{at} has too many requests, so none is made for {pause_seconds} s; {waiting}")
}

fn unread(cluster: &str, history: &HistoryStatus) -> String {
    let HistoryStatus { messages, what, seconds, given_up } = history;
    let what = what.join(", ");
    match given_up {
        false => format!(
            "nothing is applied or deleted in cluster `{cluster}` before what waited in NATS is read: {} left, {what}",
            count(*messages, "message")
        ),
        true => format!(
            "what waited in NATS for cluster `{cluster}` could not be read for {seconds} s, so Lifeline acts on what is recorded: {what}"
        ),
    }
}

fn unwatched(at: &str, unwatched: &UnwatchedStatus) -> String {
    let UnwatchedStatus { kind, because } = unwatched;
    format!("{at}: what others do to objects of {kind} is not seen: {because}")
}

fn fought(cluster: &str, fight: &FightStatus) -> String {
    let FightStatus { object, manager, .. } = fight;
    let who = manager.as_ref().map_or("somebody".to_owned(), |manager| format!("`{manager}`"));
    format!(
        "cluster `{cluster}`: {object} is fought over: {who} changes or deletes it each time it is put back\nhint: let only one of both \
         manage it, or name the fields in `spec.driftExclusions`"
    )
}

fn waits(number: usize, noun: &str) -> String {
    format!("{} {}", count(number as u64, noun), if number == 1 { "waits" } else { "wait" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::DriftStatus;

    fn site() -> SiteStatus {
        SiteStatus { cluster: "c".into(), api_server: "https://k".into(), ..SiteStatus::default() }
    }

    #[test]
    fn what_is_the_matter_with_a_site_names_it_and_the_remedy() {
        let check = |site: SiteStatus, expected: &str| assert_eq!(of_site(&site), [expected]);
        assert!(of_site(&site()).is_empty());
        check(
            SiteStatus { unavailable: Some("connection refused".into()), ..site() },
            "cluster `c` (https://k) is not available, its lifecycles wait: connection refused\nhint: look at the API server and the \
             way to it; work goes on by itself once it answers",
        );
        let held = |waiting| HeldBackStatus {
            kind: "ConfigMap".into(),
            verb: "apply".into(),
            seconds: 3,
            waiting,
            because: "deadline exceeded".into(),
        };
        for (waiting, expected) in [(1, "1 lifecycle waits"), (2, "2 lifecycles wait")] {
            check(
                SiteStatus { held_back: vec![held(waiting)], ..site() },
                &format!(
                    "cluster `c` (https://k) does not answer `apply` of ConfigMap: held back for 3 s, {expected}: deadline exceeded\nhint: \
                     look for a webhook, an aggregated API or a conversion of this kind that does not answer"
                ),
            );
        }
        check(
            SiteStatus { budget: BudgetStatus { pause_seconds: 5, waiting: 1, ..BudgetStatus::default() }, ..site() },
            "cluster `c` (https://k) has too many requests, so none is made for 5 s; 1 request waits",
        );
        let history = HistoryStatus { messages: 1, what: vec!["stream `S`".into()], seconds: 300, given_up: false };
        check(
            SiteStatus { history: Some(history.clone()), ..site() },
            "nothing is applied or deleted in cluster `c` before what waited in NATS is read: 1 message left, stream `S`",
        );
        check(
            SiteStatus { history: Some(HistoryStatus { given_up: true, ..history }), ..site() },
            "what waited in NATS for cluster `c` could not be read for 300 s, so Lifeline acts on what is recorded: stream `S`",
        );
        let because = "the cluster forbids it: no\nhint: bind a ClusterRole".to_owned();
        let unwatched = vec![UnwatchedStatus { kind: "ConfigMap".into(), because }];
        check(
            SiteStatus { drift: DriftStatus { unwatched, ..DriftStatus::default() }, ..site() },
            "cluster `c` (https://k): what others do to objects of ConfigMap is not seen: the cluster forbids it: no\nhint: bind a \
             ClusterRole",
        );
        for (manager, who) in [(Some("helm".to_owned()), "`helm`"), (None, "somebody")] {
            let fights = vec![FightStatus { object: "ConfigMap/n/a".into(), manager, pause_seconds: 9 }];
            check(
                SiteStatus { drift: DriftStatus { fights, ..DriftStatus::default() }, ..site() },
                &format!(
                    "cluster `c`: ConfigMap/n/a is fought over: {who} changes or deletes it each time it is put back\nhint: let only one \
                     of both manage it, or name the fields in `spec.driftExclusions`"
                ),
            );
        }
    }

    #[test]
    fn a_remedy_is_said_once() {
        let check = |text: String, expected: &str| assert_eq!(text, expected);
        check(
            not_saved("no room"),
            "the state is not saved, the next start reads more of the log: no room\nhint: look at the room and the rights of the data \
             folder; it is tried again by itself",
        );
        check(
            not_saved("in use\nhint: stop the other engine"),
            "the state is not saved, the next start reads more of the log: in use\nhint: stop the other engine",
        );
        let reason = "`cloudEventAction` fails";
        check(left("t", reason), "the replay of `t` leaves resources as they are: `cloudEventAction` fails");
        assert!(
            ahead(1_800_000_000_000_000_000).starts_with("the newest record has the time 2027-01-15T08:00:00Z, which")
        );
    }

    #[test]
    fn what_is_lost_without_a_stream_is_counted() {
        let check = |dropped, interruptions, expected: &str| {
            let (subject, because) = ("s".to_owned(), "`jetstream` is `never`".to_owned());
            let told = plain("not durable", &PlainStatus { subject, because, dropped, interruptions });
            let expected =
                format!("subject `s` is not durable{expected}: `jetstream` is `never`\nhint: with `jetstream`");
            assert!(told.starts_with(&expected), "{told}");
        };
        check(0, 0, "");
        check(1, 0, "; since the start 1 event dropped");
        check(0, 1, "; since the start 1 interruption that may have lost more");
        check(2, 3, "; since the start 2 events dropped, and 3 interruptions that may have lost more");
    }

    #[test]
    fn what_nobody_takes_is_named_with_its_cluster() {
        let clusters = BTreeSet::from(["a/b".to_owned()]);
        let check = |number, expected: &str| assert!(stranded(number, &clusters).starts_with(expected), "{number}");
        check(1, "1 lifecycle waits: the log has them for `a/b`, which this engine does not work for\nhint: ");
        check(2, "2 lifecycles wait: the log has them for `a/b`, which");
    }
}
