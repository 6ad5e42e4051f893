"""The state that records give, below an offset: resources, their lifecycles, what these hold, rules and streams.

From DESIGN ("The words", "Identity traps") and the docs of facts: a decision counts unless it is overtaken; an outcome is true of the
inventory whatever it acted for, and settles only the decision in force; the first claim on an object owns it.
"""

import dataclasses

import facts


@dataclasses.dataclass
class Holding:
    """What a lifecycle may have in the cluster: claimed by a record; what an apply left there is known or not."""

    claimed_at: int
    version: str  # Of its kind, as it was applied last.
    uid: str = None
    applied_for: int = None
    time: int = None


@dataclasses.dataclass
class Lifecycle:
    trigger: str
    cluster: str
    desired: str = "absent"
    offset: int = 0  # Of the decision.
    time: int = 0
    event: int = None  # What it is made of, while it is present.
    incarnation: int = 0
    is_settled: bool = False
    holds: dict = dataclasses.field(default_factory=dict)
    failure: dict = None

    def decide(self, record, desired, event=None, incarnation=None):
        if incarnation is not None:
            self.incarnation = incarnation
        elif desired == "present" and self.desired != "present":
            self.incarnation += 1
        self.desired, self.offset, self.time, self.event = desired, record["offset"], record["time"], event
        self.is_settled, self.failure = False, None
        if desired == "left":
            self.holds.clear()

    def phase(self):
        if self.desired == "left":
            return "Left"
        if self.desired == "absent" and not self.holds:
            return "Gone"
        if self.failure:
            return "Failing"
        if self.desired == "absent":
            return "Deleting"
        return "Ready" if self.is_settled else "Pending"

    def own(self):
        """What it holds: what was applied, and what it claimed for the decision in force, unless that failed: then it is another's."""
        is_on_its_way = lambda held: not self.failure and held.claimed_at >= self.offset
        return sorted((key, held) for key, held in self.holds.items() if held.uid or is_on_its_way(held))

    def takes_in(self, record):
        """An outcome."""
        if record["fact"] == "Altered":
            return  # What the cluster changed changes nothing here.
        what, is_current = record["fact"], record["acted_for"] == self.offset
        keys = [object_key(item) for item in record["objects"]]
        if self.desired == "left" and what not in ("Deleted", "Released"):
            keys = []  # An attempt that began before the trigger was gone claims nothing any more.
        if what in ("ApplyIntended", "Drifted"):
            for key, item in zip(keys, record["objects"]):
                if what == "ApplyIntended":
                    self.holds.setdefault(key, Holding(record["offset"], item["version"]))
            self.is_settled = False
        elif what == "Recreated" and keys:
            held = self.holds[keys[0]]
            self.holds[keys[0]] = Holding(held.claimed_at, held.version)
            self.is_settled = False
        elif what in ("Deleted", "Released"):
            for key in keys:
                self.holds.pop(key, None)
            if is_current and self.desired == "absent" and not self.holds:
                self.failure = None
        else:
            for key, item in zip(keys, record["objects"]):
                held = self.holds.setdefault(key, Holding(record["offset"], item["version"]))
                held.version = item["version"]
                held.uid, held.applied_for, held.time = item["uid"], record["acted_for"], record["time"]
            if is_current:
                self.is_settled = what == "Applied"
                self.failure = None if what == "Applied" else {"error": record["error"], "attempt": record["attempt"]}


@dataclasses.dataclass
class Resource:
    events: int = 0
    last_event: dict = None
    lifecycles: dict = dataclasses.field(default_factory=dict)

    def lifecycle(self, trigger, cluster):
        return self.lifecycles.setdefault((trigger, cluster), Lifecycle(trigger, cluster))


class State:
    """All that the records below `end` say."""

    def __init__(self, records, end):
        self.end, self.resources, self.rules, self.streams = end, {}, {}, {}
        # Which incarnation a decision is of: by source, subject, trigger, cluster and offset.
        self.made = {}
        self.time = 0  # Of the last record.
        for record in records[:end]:
            self.time = record["time"]
            self.take_in(record)

    def resource(self, record):
        return self.resources.setdefault((record["source"], record["subject"]), Resource())

    def stream(self, record):
        fields = record.get("delivery", record)
        empty = {"epoch": 0, "next_sequence": 0, "received": 0, "rejected": 0, "missing": 0, "markers": 0}
        return self.streams.setdefault((fields["cluster"], fields["stream"]), empty)

    def take_in(self, record):
        fact = record["fact"]
        if "delivery" in record and fact != "EventRedriven":
            stream = self.stream(record)
            stream["epoch"], stream["next_sequence"] = record["delivery"]["epoch"], record["delivery"]["sequence"] + 1
            stream["received"] += facts.is_event(record)
            stream["rejected"] += fact == "EventRejected"
            stream["markers"] += fact == "MarkerFound"
        if facts.is_event(record):
            resource = self.resource(record)
            resource.events += 1
            resource.last_event = record
            for decision in record["decisions"]:
                ruling, trigger = decision["ruling"][0], decision["trigger"]
                if ruling in ("Create", "Delete") and facts.overtaken_by(record, trigger) is None:
                    lifecycle = resource.lifecycle(trigger, record["delivery"]["cluster"])
                    lifecycle.decide(record, "present" if ruling == "Create" else "absent", record["offset"])
        elif fact == "TriggerReplayed":
            for redecision in record["redecisions"]:
                desired, how = redecision["desired"]
                lifecycle = self.resource(redecision["resource"]).lifecycle(record["trigger"], redecision["cluster"])
                lifecycle.decide(record, desired, (how or {}).get("event"), (how or {}).get("incarnation"))
        elif fact == "Gathered":
            resource = self.resource({"source": "", "subject": record["trigger"]})
            resource.lifecycle(record["trigger"], record["cluster"]).decide(record, "present" if record["keys"] else "absent")
        elif fact == "RuleChanged":
            self.rules.pop(record["rule"], None)
            if record["digest"] is not None:
                self.rules[record["rule"]] = record
        elif fact == "StreamOpened":
            self.stream(record).update(epoch=record["epoch"], next_sequence=record["start"])
        elif fact == "GapFound":
            stream = self.stream(record)
            stream["missing"] += record["to"] - record["from"]
            stream["next_sequence"] = record["to"]
        elif "acted_for" in record:
            self.resource(record).lifecycle(record["trigger"], record["cluster"]).takes_in(record)

        self.note(record)

    def note(self, record):
        for source, subject in resources_of(record):
            for (trigger, cluster), lifecycle in self.resources[source, subject].lifecycles.items():
                if lifecycle.offset == record["offset"] and lifecycle.incarnation:
                    self.made[source, subject, trigger, cluster, record["offset"]] = lifecycle.incarnation

    def lifecycles(self):
        """All of them, sorted by source, subject, trigger and cluster: (source, subject, resource, lifecycle)."""
        for source, subject in sorted(self.resources):
            resource = self.resources[source, subject]
            for _, lifecycle in sorted(resource.lifecycles.items()):
                yield source, subject, resource, lifecycle

    def claims(self):
        """Who claims each object of a cluster, the earliest first: (claimed_at, source, subject, lifecycle)."""
        claims = {}
        for source, subject, _, lifecycle in self.lifecycles():
            for key, held in lifecycle.holds.items():
                claims.setdefault((lifecycle.cluster, *key), []).append((held.claimed_at, source, subject, lifecycle))
        return {key: sorted(found, key=lambda claim: claim[:3]) for key, found in claims.items()}


def resources_of(record):
    """The (source, subject) that a record speaks of."""
    if record["fact"] == "Gathered":
        return [("", record["trigger"])]
    if "redecisions" in record:
        return [tuple(each["resource"].values()) for each in record["redecisions"]]
    return [(record["source"], record["subject"])] if "source" in record else []


def object_key(item):
    """What an object is called, in the order in which lists sort it. It is one object in all versions of its kind."""
    return item["group"], item["kind"], item["namespace"] or "", item["name"]
