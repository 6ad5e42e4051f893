"""What intake and replays had to record: what the rules in force make of an event, and which of two events is the later one.

DESIGN, "Order": within a stream the sequence says it, across streams the time at which the server stored the message, and where times
are equal the stream's name; with `lifeline.dev/order: time` the event's own time. An event that is older than the one that decided is
overtaken. The end depends on the events and the rules in force, not on which came first.
"""

import datetime
import json
import re

import facts
from compare import ANY

# A clock may be ahead by so much; what is further ahead counts as this.
AHEAD_NANOS = 60 * 10**9


class Rules:
    """The rules in force after some records."""

    def __init__(self):
        self.held = {}

    def take_in(self, record):
        if record["fact"] == "RuleChanged":
            self.held.pop(record["rule"], None)
            if record["digest"] is not None:
                self.held[record["rule"]] = json.loads(record["manifest"] or "{}")

    def triggers(self):
        return sorted((name.partition("/")[2], rule) for name, rule in self.held.items() if name.startswith("EventTrigger/"))

    def ruling(self, trigger, event):
        """What a trigger makes of an event: (EventSource, criterion from 0, ruling), or `None` where it does not match."""
        spec = trigger["spec"]
        source = self.held[f"EventSource/{spec['eventSourceName']}"]
        has = {"subject": event["delivery"]["nats_subject"], "cloudEventType": event["type"], "cloudEventSource": event["source"]}
        for number, criterion in enumerate(source["spec"]["messagingMatchCriteria"]):
            if all(re.search(pattern, has[field]) for field, pattern in criterion.items()):
                return spec["eventSourceName"], number, action(spec["cloudEventAction"], event["type"])
        return None


def action(template, kind):
    """Go's `{{if eq .CloudEvent.type "a"}}A{{else if eq .CloudEvent.type "b"}}B{{else}}C{{end}}`: all that the histories use."""
    parts = re.findall(r'\{\{(?:else )?if eq \.CloudEvent\.type "(.*?)"\}\}(.*?)(?=\{\{)', template)
    text = dict(parts).get(kind, re.search(r"\{\{else\}\}(.*?)\{\{end\}\}", template)[1])
    return text if text in ("Create", "Delete") else "NoAction"


class Order:
    """Which of two events is the later one."""

    def __init__(self):
        self.until = {}
        self.counted = {}

    def take_in(self, record):
        """The time that counts never goes back within an epoch of a stream."""
        if "delivery" in record:
            delivery = record["delivery"]
            stream = delivery["cluster"], delivery["stream"], delivery["epoch"]
            name = (*stream, delivery["sequence"])
            if name not in self.counted:
                ahead = min(delivery["published"], record["time"] + AHEAD_NANOS)
                self.counted[name] = self.until[stream] = max(ahead, self.until.get(stream, 0))

    def place(self, event, trigger):
        """The later event has the greater place."""
        delivery = event["delivery"]
        counted = self.counted[delivery["cluster"], delivery["stream"], delivery["epoch"], delivery["sequence"]]
        if trigger["metadata"].get("annotations", {}).get("lifeline.dev/order") == "time":
            return (min(own_time(event) or counted, counted + AHEAD_NANOS),)
        return counted, delivery["stream"], delivery["epoch"], delivery["sequence"]


def own_time(event):
    headers = {name.lower(): value for name, value in event["headers"]}
    text = headers.get("ce-time") if "ce-id" in headers else json.loads(event["payload"]).get("time")
    return text and int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) * 10**9


def latest(order, rules, trigger, events):
    """The event that decides: the latest one of which the trigger makes something. Of equal ones the one that was recorded last."""
    found = None
    for event in events:
        ruling = rules.ruling(trigger, event)
        if ruling and ruling[2] in ("Create", "Delete"):
            if found is None or order.place(event, trigger) >= order.place(found[0], trigger):
                found = event, ruling[2]
    return found


def check(trial):
    """Each decision that was recorded, and what holds in the end."""
    rules, order, events = Rules(), Order(), {}
    for record in trial.records:
        rules.take_in(record)
        order.take_in(record)
        if not facts.is_event(record):
            continue
        before = events.setdefault((record["source"], record["subject"]), [])
        model = []
        for name, trigger in rules.triggers():
            ruling = rules.ruling(trigger, record)
            if ruling is None:
                continue
            decided = latest(order, rules, trigger, before) if ruling[2] in ("Create", "Delete") else None
            is_overtaken = decided and order.place(decided[0], trigger) > order.place(record, trigger)
            model.append((name, *ruling, decided[0]["offset"] if is_overtaken else None))
        said = [(made["trigger"], made["event_source"], made["criterion"], made["ruling"][0], facts.overtaken_by(record, made["trigger"]))
                for made in record["decisions"]]
        trial.check(f"the decisions of the event at {record['offset']} in the log", said, model)
        before.append(record)
    state = trial.state(trial.end)
    for key, about in sorted(events.items()):
        for name, trigger in rules.triggers():
            decided = latest(order, rules, trigger, about)
            lifecycle = state.resources[key].lifecycles.get((name, "mgmt/mgmt"))
            model = ("present", decided[0]["offset"]) if decided and decided[1] == "Create" else ("absent", ANY)
            said = (lifecycle.desired, lifecycle.event) if lifecycle else ("absent", None)
            trial.check(f"what {name} makes of {key} in the end", list(said), model)
