"""The bytes of facts (`projections/src/fact/codec.rs`), read into dictionaries. `docs/facts.md` says what each means.

A payload is a version byte, the number of its kind, and its fields in bincode's standard configuration. Fields are described by
what reads them: `STR`, `INT`, a list `[item]`, an option `(None, item)`, a struct `{"name": item}`, an enum `Enum(...)`.
"""

import log


class Enum(dict):
    """Variants by number: (name, fields or None)."""


INT, STR, BYTES, BOOL = "int", "str", "bytes", "bool"
OFFSET = INT
MAYBE_OFFSET = (None, OFFSET)
DELIVERY = {"cluster": STR, "stream": STR, "epoch": INT, "sequence": INT, "published": INT, "nats_subject": STR}
RULING = Enum({0: ("Create", None), 1: ("Delete", None), 2: ("NoAction", STR), 3: ("Failed", STR)})
DECISION = {"trigger": STR, "event_source": STR, "criterion": INT, "ruling": RULING}
HEADERS = [("pair", STR, STR)]
MESSAGE = {"headers": HEADERS, "payload": BYTES}
EVENT = {"delivery": DELIVERY, "source": STR, "subject": STR, "type": STR, "id": STR, "previous": MAYBE_OFFSET,
         "decisions": [DECISION], **MESSAGE}
LATER = {"offset": OFFSET, "published": INT, "stream": STR}
ORDER_BY = Enum({0: ("stream", None), 1: ("time", None), 2: ("sequence", None)})
PLACE = {"trigger": STR, "by": ORDER_BY, "falls_back": BOOL, "overtaken_by": (None, LATER)}
ORDER = {"counted": INT, "is_late": BOOL, "places": [PLACE]}
REDRIVEN = {"of": OFFSET, "by": STR, "reason": STR}
RESOURCE = {"source": STR, "subject": STR}
OBJECT = {"group": STR, "version": STR, "kind": STR, "namespace": (None, STR), "name": STR}
APPLIED = {**OBJECT, "uid": STR, "digest": INT}
DRIFTED = {**OBJECT, "uid": STR, "drift": Enum({0: ("deleted", None), 1: ("changed", None)}), "manager": (None, STR)}
DESIRED = Enum({0: ("present", {"event": OFFSET, "incarnation": INT}), 1: ("absent", {"event": MAYBE_OFFSET}), 2: ("left", None)})
REDECISION = {"cluster": STR, "resource": RESOURCE, "desired": DESIRED, "previous": MAYBE_OFFSET}
REPLAY = {"trigger": STR, "digest": (None, INT), "leaves": BOOL, "complete": BOOL, "redecisions": [REDECISION]}
WHOSE = {"trigger": STR, "cluster": STR, **RESOURCE, "acted_for": OFFSET, "previous": MAYBE_OFFSET}
FAILED = {"error": STR, "attempt": INT, "transient": BOOL}
STREAM = {"cluster": STR, "stream": STR, "epoch": INT}

KINDS = {
    0: ("EventReceived", EVENT),
    1: ("EventRejected", {"delivery": DELIVERY, "reason": STR, **MESSAGE}),
    2: ("StreamOpened", {**STREAM, "created": INT, "start": INT, "reason": STR}),
    3: ("GapFound", {**STREAM, "from": INT, "to": INT}),
    25: ("HolesFound", {**STREAM, "from": INT, "to": INT, "up_to": INT}),
    4: ("RuleChanged", {"rule": STR, "digest": (None, INT), "manifest": STR}),
    5: ("TriggerReplayed", REPLAY),
    6: ("ApplyIntended", {**WHOSE, "objects": [OBJECT]}),
    7: ("Applied", {**WHOSE, "objects": [APPLIED]}),
    8: ("ApplyFailed", {**WHOSE, "objects": [APPLIED], **FAILED}),
    9: ("Deleted", {**WHOSE, "objects": [OBJECT]}),
    10: ("RecordLost", {"reason": STR}),
    11: ("Released", {**WHOSE, "objects": [OBJECT]}),
    12: ("EventRedriven", {"redriven": REDRIVEN, **EVENT}),
    13: ("EventReceived", {"order": ORDER, **EVENT}),
    14: ("EventRedriven", {"order": ORDER, "redriven": REDRIVEN, **EVENT}),
    15: ("Drifted", {**WHOSE, "objects": [DRIFTED]}),
    16: ("Applied", {**WHOSE, "objects": [APPLIED], "fields": [INT], "failed": (None, FAILED)}),
    17: ("Recreated", {**WHOSE, "objects": OBJECT, "uid": STR, "reason": STR}),
    21: ("Altered", {**WHOSE, "objects": OBJECT, "fields": [STR]}),
    18: ("MarkerFound", {"delivery": DELIVERY, "reason": STR, **MESSAGE}),
    22: ("Gathered", {"trigger": STR, "cluster": STR, "keys": INT, "until": OFFSET, "previous": MAYBE_OFFSET}),
    24: ("TriggerReplayed", {"allowance": {"objects": INT, "is_confirmed": BOOL}, **REPLAY}),
}


class Reader:
    """Reads a payload from its front to its end."""

    def __init__(self, payload):
        self.payload, self.at = payload, 0

    def take(self, count):
        self.at += count
        return self.payload[self.at - count : self.at]

    def integer(self):
        first = self.take(1)[0]
        return first if first < 251 else int.from_bytes(self.take(2 ** (first - 250)), "little")

    def read(self, what):
        if what is INT:
            return self.integer()
        if what is BOOL:
            return self.take(1)[0] == 1
        if what is BYTES:
            return self.take(self.integer())
        if what is STR:
            return self.take(self.integer()).decode()
        if isinstance(what, list):
            return [self.read(what[0]) for _ in range(self.integer())]
        if isinstance(what, Enum):
            name, fields = what[self.integer()]
            return (name, self.read(fields) if fields else None)
        if isinstance(what, dict):
            return {name: self.read(item) for name, item in what.items()}
        if what[0] == "pair":
            return tuple(self.read(item) for item in what[1:])
        return self.read(what[1]) if self.take(1)[0] else None


def fact(offset, time, payload):
    """One record: its fields, and `fact`, `offset` and `time` (nanoseconds)."""
    reader = Reader(payload)
    version, kind = reader.take(1)[0], reader.integer()
    if version != 1 or kind not in KINDS:
        raise SystemExit(f"the record at {offset} has version {version} and kind {kind}\nhint: add it to tests/model/facts.py")
    name, fields = KINDS[kind]
    read = reader.read(fields)
    if reader.at != len(payload):
        raise SystemExit(f"the record at {offset} is longer than a {name}\nhint: compare tests/model/facts.py with the codec")
    if any(place["overtaken_by"] for place in read.get("order", {}).get("places", [])) and name == "EventReceived":
        name = "EventOvertaken"
    if failed := read.pop("failed", None):
        name, read = "ApplyFailed", {**read, **failed}
    if name in ("Recreated", "Altered"):
        read["objects"] = [read["objects"]]
    return {"offset": offset, "time": time, "fact": name, **read}


def read_all(folder):
    """All facts of a log, by offset."""
    return [fact(*record) for record in log.records(folder)]


def is_event(record):
    """Whether it is a message that is a CloudEvent."""
    return record["fact"] in ("EventReceived", "EventOvertaken", "EventRedriven")


def place(event, trigger):
    """What is said of the place of a trigger's decision among those of its lifecycle; None where it is the latest."""
    places = event.get("order", {}).get("places", [])
    return next((place for place in places if place["trigger"] == trigger), None)


def overtaken_by(event, trigger):
    """The offset of the later event that had decided already; None where the decision counts."""
    later = (place(event, trigger) or {}).get("overtaken_by")
    return later and later["offset"]
