"""Records as `/v1/events` and `/v1/history` show them (`ops/openapi.json`: `Entry`), and which are wanted (`docs/http.md`)."""

import facts
from compare import TEXT, Form, Maybe
from fold import resources_of
from lists import time_text


def short(item):
    """What a person calls an object."""
    return "/".join(part for part in (item["kind"], item["namespace"], item["name"]) if part)


def entry(state, record, key=None):
    """One record; of one resource, where it speaks of several and `key` is that one. `state` is a later one."""
    is_event = facts.is_event(record)
    redecisions = [each for each in record.get("redecisions", []) if key in (None, tuple(each["resource"].values()))]
    # Of many resources none is named.
    spoken = set(resources_of(record))
    about = key or (spoken.pop() if len(spoken) == 1 else None)
    row = {
        "offset": record["offset"], "time": time_text(record["time"]), "fact": record["fact"], "summary": TEXT,
        "trigger": None if is_event else record.get("trigger"), "acted_for": record.get("acted_for"),
        "cluster": record.get("cluster") or record.get("delivery", {}).get("cluster"),
        "error": record.get("reason" if record["fact"] in ("EventRejected", "RecordLost") else "error"),
        "redriven": record.get("redriven"), "objects": [short(item) for item in record.get("objects", [])],
    }
    if about:
        row["source"], row["subject"] = about
    if len(redecisions) == 1:
        row["cluster"] = redecisions[0]["cluster"]
    if about and not is_event:
        made = state.made.get((*about, row["trigger"], row["cluster"], record.get("acted_for", record["offset"])))
        row["incarnation"] = Maybe(made)
    if record["fact"] == "Drifted":
        row["drifts"] = [{"object": short(item), "drift": item["drift"][0], "manager": item["manager"]} for item in record["objects"]]
    if is_event:
        delivery = record["delivery"]
        row["event"] = {
            "id": record["id"], "type": record["type"], "nats_subject": delivery["nats_subject"], "stream": delivery["stream"],
            "epoch": delivery["epoch"], "sequence": delivery["sequence"], "published": time_text(delivery["published"]),
            "decisions": [decision(state, record, each) for each in record["decisions"]],
        }
    return row


def decision(state, event, made):
    """What a trigger made of an event. What is said of it beside the action is a sentence."""
    trigger, ruling = made["trigger"], made["ruling"][0]
    key = event["source"], event["subject"], trigger, event["delivery"]["cluster"], event["offset"]
    return {
        "trigger": trigger, "event_source": made["event_source"], "criterion": made["criterion"] + 1,
        "action": Form(f"{ruling}.*" if ruling in ("Create", "Delete") else "(?!Create|Delete).+"),
        "overtaken_by": facts.overtaken_by(event, trigger), "incarnation": Maybe(state.made.get(key)),
    }


def is_wanted(record, given):
    """Whether a record is one that a filter of `/v1/events` asks for."""
    if "source" in given or "subject" in given:
        if not wanted_keys(record, given):
            return False
    if "type" in given and not (facts.is_event(record) and record["type"] == given["type"]):
        return False
    return given.get("rejected") in (None, "true" if record["fact"] == "EventRejected" else "false")


def wanted_keys(record, given):
    source, subject = given.get("source", ""), given.get("subject")
    return [key for key in resources_of(record) if key[0].startswith(source) and subject in (None, key[1])]


def events(state, records, given):
    """The records that are wanted, oldest first. Where only one of the resources is wanted that a record speaks of, it is told
    of that."""
    rows = []
    for record in records:
        if is_wanted(record, given):
            keys = wanted_keys(record, given) if "source" in given or "subject" in given else []
            rows.append(entry(state, record, keys[0] if len(set(keys)) == 1 else None))
    return rows


def history(state, records, key, is_whole=False):
    """The records that speak of a resource, oldest first. In a page that has them all it is known which incarnation each belongs to,
    back to where a replay set the count. What counts is the decision: an outcome may come after a replay and act for one before."""
    rows = [entry(state, record, key) for record in records if key in resources_of(record)]
    replays = {row["trigger"]: row["offset"] for row in rows if row["fact"] == "TriggerReplayed"}
    for row in rows if is_whole else []:
        decided = row["offset"] if row.get("acted_for") is None else row["acted_for"]
        for known in (row, *row.get("event", {}).get("decisions", [])):
            if "incarnation" in known and decided >= replays.get(known["trigger"], 0):
                known["incarnation"] = known["incarnation"].value
    return rows
