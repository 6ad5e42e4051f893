"""What came of a record, and why an object is as it is (`ops/openapi.json`: `WhyEvent`, `EventDetail`, `WhyObject`)."""

import base64
import json

import facts
from compare import ANY, TEXT
from entries import entry
from fold import object_key, resources_of
from lists import lifecycle_row, object_row, time_text


def event(state, records, offset):
    """The answer of `/v1/why/event`, but for how far decisions came."""
    record = records[offset]
    answer = {"summary": TEXT, "record": entry(state, record), "complete": True, "triggers": [], "unmatched": ANY}
    if not facts.is_event(record):
        return {**answer, "verdict": "no-event"}
    answer["triggers"] = triggers(state, records, record)
    acted = any(row["effect"] not in ("nothing", "overtaken") for row in answer["triggers"])
    return {**answer, "verdict": "acted" if acted else "nothing"}


class Thread:
    """What became of one trigger's decision about an event, record by record."""

    def __init__(self, trigger, cluster, made=None, event=None):
        self.row = {
            "trigger": trigger, "cluster": cluster, "action": TEXT, "outcomes": [], "replayed": None, "superseded_by": None,
            "event_source": made and made["event_source"], "criterion": made and made["criterion"] + 1,
            "overtaken_by": made and facts.overtaken_by(event, trigger),
        }
        counts = made and self.row["overtaken_by"] is None and made["ruling"][0] in ("Create", "Delete")
        self.decides = made["ruling"][0] if counts else None
        self.made = [event["offset"]] if made else []
        self.effect = self.done = None

    def another_decides(self, offset):
        if self.decides and self.row["superseded_by"] is None:
            self.row["superseded_by"] = offset

    def replay(self, offset, decides):
        """Changed rules decide by this event."""
        if self.decides != decides:
            self.done, self.row["replayed"] = None, offset
        self.made.append(offset)
        self.decides, self.effect = decides, None
        self.row["superseded_by"] = self.row["overtaken_by"] = None

    def outcome(self, row):
        self.row["outcomes"].append(row)
        self.effect = {"Applied": "applied", "Deleted": "deleted", "Released": "released", "ApplyFailed": "failing"}.get(row["fact"])
        if self.effect in ("applied", "deleted", "released"):
            self.done = self.effect

    def answer(self, lifecycle):
        row = self.row
        if not self.decides:
            effect = "nothing" if row["overtaken_by"] is None else "overtaken"
        elif row["superseded_by"] is not None:
            effect = self.done or "superseded"
        elif lifecycle.phase() in ("Gone", "Left") and self.effect is None:
            effect = "settled"
        else:
            effect = self.effect or "pending"
        return {**row, "effect": effect}


def triggers(state, records, record):
    """What each trigger made of an event, by its own decision or by that of a replay."""
    cluster, key = record["delivery"]["cluster"], (record["source"], record["subject"])
    threads = {(made["trigger"], cluster): Thread(made["trigger"], cluster, made, record) for made in record["decisions"]}
    for other in records[record["offset"] + 1 :]:
        if key not in resources_of(other):
            continue
        for made in other.get("decisions", []):
            name = made["trigger"], cluster
            counts = made["ruling"][0] in ("Create", "Delete") and facts.overtaken_by(other, made["trigger"]) is None
            if name in threads and counts:
                threads[name].another_decides(other["offset"])
        for each in other.get("redecisions", []):
            if tuple(each["resource"].values()) == key:
                desired, how = each["desired"]
                name = other["trigger"], each["cluster"]
                if how and how["event"] == record["offset"]:
                    threads.setdefault(name, Thread(*name)).replay(other["offset"], "Create" if desired == "present" else "Delete")
                elif name in threads:
                    threads[name].another_decides(other["offset"])
        thread = threads.get((other.get("trigger"), other.get("cluster")))
        if thread and other.get("acted_for") in thread.made:
            thread.outcome(entry(state, other))
    lifecycles = state.resources[key].lifecycles
    return [thread.answer(lifecycles.get(name)) for name, thread in sorted(threads.items())]


def detail(state, records, offset):
    """The answer of `/v1/event`."""
    record = records[offset]
    answer = event(state, records, offset)
    if "delivery" in record:
        delivery = record["delivery"]
        answer["message"] = {
            **{name: delivery[name] for name in ("cluster", "stream", "epoch", "sequence", "nats_subject")},
            "published": time_text(delivery["published"]), "payload_bytes": len(record["payload"]),
            "headers": [{"name": name, "value": value} for name, value in sorted(record["headers"])],
        }
    if record["fact"] == "EventRejected":
        answer["reason"] = record["reason"]
        answer["message"]["payload_base64"] = base64.b64encode(record["payload"]).decode()
    if facts.is_event(record):
        answer["attributes"], answer["data"] = cloud_event(record)
    return answer


def cloud_event(record):
    """The attributes and the data of a message, in structured or in binary mode (CloudEvents 1.0.2, and its NATS binding)."""
    headers = {name.lower(): value for name, value in record["headers"]}
    if "ce-id" in headers:
        attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
        attributes["datacontenttype"] = headers["content-type"]
        # A missing subject is the empty one.
        attributes.setdefault("subject", "")
        return attributes, {"content_type": headers["content-type"], "bytes": len(record["payload"]), "encoding": "json",
                            "value": json.loads(record["payload"])}
    attributes = json.loads(record["payload"])
    data = attributes.pop("data", None)
    attributes.setdefault("subject", "")
    return attributes, data and {"content_type": attributes.get("datacontenttype"), "encoding": "json", "value": data}


def objects(records):
    """All that were ever named, with their clusters."""
    return {(record["cluster"], *object_key(item)) for record in records for item in record.get("objects", [])}


def why_object(state, records, named):
    """The answer of `/v1/why/object`: who holds an object, or let it go."""
    cluster, key = named[0], named[1:]
    left_open = dict.fromkeys(("decision", "rendered", "list", "drifts", "notes"), ANY)
    answer = {"summary": TEXT, "cluster": cluster, "more": False, **left_open}
    claims = [claim for claim in state.claims().get(named, [])]
    if claims:
        _, source, subject, owner = claims[0]
        held = owner.holds[key]
        answer.update(
            verdict="held", object=object_row(key, held.version, held.uid),
            lifecycle=lifecycle_row(source, subject, state.resources[source, subject], owner),
            also_claimed=[{"trigger": lifecycle.trigger, "source": source, "subject": subject, "offset": offset}
                          for offset, source, subject, lifecycle in claims[1:]])
        if held.uid:
            answer["applied"] = {"uid": held.uid, "time": time_text(held.time), "offset": ANY, "made_at": ANY, "unchanged_since": ANY}
        return answer
    ends = [record for record in records[: state.end] if record["fact"] in ("Deleted", "Released") and record["cluster"] == cluster
            and key in map(object_key, record["objects"])]
    # It went by the last record that took it from its last holder.
    last = ends[-1]
    version = next(item["version"] for item in last["objects"] if object_key(item) == key)
    lifecycle = state.resources[last["source"], last["subject"]].lifecycle(last["trigger"], cluster)
    answer.update(verdict="gone", object=object_row(key, version, None), gone=ANY, lifecycle=ANY if len(ends) > 1 else lifecycle_row(
        last["source"], last["subject"], state.resources[last["source"], last["subject"]], lifecycle))
    return answer
