"""The rows of lists (`ops/openapi.json`: `ResourceRow`, `LifecycleRow`, `OwnedObjectRow`, `ConflictRow`, `RuleRow`), and their filters
(`docs/http.md`)."""

import datetime

KINDS = {"ns": "Namespace", "namespaces": "Namespace", "cm": "ConfigMap", "configmaps": "ConfigMap"}
PHASES = ["Failing", "Pending", "Deleting", "Ready", "Left", "Gone"]


def time_text(nanos):
    """RFC 3339 in milliseconds, the last one begun counting whole."""
    millis = -(-nanos // 1_000_000)
    shown = datetime.datetime.fromtimestamp(millis // 1000, datetime.timezone.utc)
    return f"{shown:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03}Z"


def object_row(key, version, uid):
    group, kind, namespace, name = key
    return {"group": group, "version": version, "kind": kind, "namespace": namespace or None, "name": name, "uid": uid}


def lifecycle_row(source, subject, resource, lifecycle):
    event = resource.last_event
    return {
        "source": source, "subject": subject, "trigger": lifecycle.trigger, "cluster": lifecycle.cluster,
        "desired": "present" if lifecycle.desired == "present" else "absent", "phase": lifecycle.phase(),
        "incarnation": lifecycle.incarnation, "offset": lifecycle.offset, "time": time_text(lifecycle.time),
        "objects": [object_row(key, held.version, held.uid) for key, held in lifecycle.own()],
        "last_event": event["type"] if event else "", "last_event_offset": event["offset"] if event else 0,
        **(lifecycle.failure or {}),
    }


class Filter:
    """Which rows are wanted: the parameters of a list."""

    def __init__(self, parameters):
        self.given = parameters

    def of_resource(self, source, subject):
        # All of a history is younger than the day that is asked for.
        begins = source.startswith(self.given.get("source", ""))
        return "age_min" not in self.given and begins and subject == self.given.get("subject", subject)

    def of_lifecycle(self, lifecycle):
        given = self.given
        kind = given.get("kind")
        return (
            lifecycle.trigger == given.get("trigger", lifecycle.trigger)
            and lifecycle.cluster == given.get("cluster", lifecycle.cluster)
            and lifecycle.phase().lower() == given.get("phase", lifecycle.phase()).lower()
            and given.get("gone") in (None, "true" if lifecycle.phase() == "Gone" else "false")
            and (kind is None or any(is_kind(key, kind) for key, _ in lifecycle.own()))
        )

    def asks_of_lifecycles(self):
        return any(name in self.given for name in ("trigger", "cluster", "phase", "kind")) or self.given.get("gone") == "true"


def is_kind(key, kind):
    return key[1].lower() == KINDS.get(kind.lower(), kind).lower()


def resource_row(source, subject, resource):
    """Of a list of live keys no event speaks."""
    event = resource.last_event or {"type": "", "offset": 0, "time": 0}
    lifecycles = resource.lifecycles.values()
    return {
        "source": source, "subject": subject, "events": resource.events, "last_event": event["type"],
        "lifecycles": len(lifecycles), "objects": sum(len(lifecycle.own()) for lifecycle in lifecycles),
        "offset": event["offset"], "time": time_text(event["time"]),
    }


def resources(state, given):
    wanted, rows = Filter(given), []
    for (source, subject), resource in sorted(state.resources.items()):
        lifecycles = resource.lifecycles.values()
        # What only rules speak of, such as a list, is no resource of events.
        if not resource.events or not wanted.of_resource(source, subject):
            continue
        matching = any(map(wanted.of_lifecycle, lifecycles))
        if matching or not (wanted.asks_of_lifecycles() or (lifecycles and "gone" in given)):
            rows.append(resource_row(source, subject, resource))
    return rows


def lifecycles(state, given):
    wanted = Filter(given)
    return [
        lifecycle_row(*each) for each in state.lifecycles() if wanted.of_resource(*each[:2]) and wanted.of_lifecycle(each[3])
    ]


def objects(state, given):
    wanted, rows = Filter({**given, "gone": "false"}), []
    if given.get("gone") == "true":
        return []  # No object in a list is gone.
    for source, subject, _, lifecycle in state.lifecycles():
        if not wanted.of_resource(source, subject) or not wanted.of_lifecycle(lifecycle):
            continue
        for key, held in lifecycle.own():
            if "kind" not in given or is_kind(key, given["kind"]):
                rows.append({
                    **object_row(key, held.version, held.uid), "cluster": lifecycle.cluster, "trigger": lifecycle.trigger,
                    "source": source, "subject": subject, "offset": held.applied_for if held.uid else held.claimed_at,
                    "time": time_text(held.time) if held.uid else None,
                })
    return rows


def conflicts(state, _):
    rows = []
    for (cluster, *key), claims in sorted(state.claims().items(), key=lambda item: item[0]):
        if len(claims) > 1:
            held = claims[0][3].holds[tuple(key)]
            rows.append({
                **object_row(key, held.version, held.uid), "cluster": cluster,
                "claims": [{"trigger": lifecycle.trigger, "source": source, "subject": subject, "offset": offset}
                           for offset, source, subject, lifecycle in claims],
            })
    return rows


def rules(state, _):
    return [{"rule": name, "digest": f"{record['digest']:016x}", "offset": record["offset"]}
            for name, record in sorted(state.rules.items())]


def stuck(state, given, now):
    """Those that fail, then those that wait for long enough; of each the earliest decision first."""
    rows = []
    for each in state.lifecycles():
        phase, waits = each[3].phase(), now - each[3].time
        if phase == "Failing" or phase in ("Pending", "Deleting") and waits >= int(given["longer_than"]) * 10**9:
            rows.append((phase != "Failing", each[3].offset, lifecycle_row(*each)))
    return [row for _, _, row in sorted(rows, key=lambda row: row[:2])]


def difference(before, after, given):
    """What became of each lifecycle that is not what it was."""
    wanted, rows = Filter(given), []
    sides = [{(*each[:2], each[3].trigger, each[3].cluster): each for each in state.lifecycles()} for state in (before, after)]
    for key in sorted(sides[0].keys() | sides[1].keys()):
        was, now = (side.get(key) for side in sides)
        each = [(lifecycle_row(*side), side[3]) for side in (was, now) if side]
        if not wanted.of_resource(*key[:2]) or not any(wanted.of_lifecycle(lifecycle) for _, lifecycle in each):
            continue
        if was and now and each[0] == each[1]:
            continue
        was, now = ((lifecycle_row(*side), side[3]) if side else (None, None) for side in (was, now))
        if was[0] == now[0]:
            continue
        is_present = [side[0] is not None and side[0]["desired"] == "present" for side in (was, now)]
        made_again = was[1] and now[1] and any(
            held.uid and now[1].holds.get(key) and now[1].holds[key].uid not in (None, held.uid) for key, held in was[1].holds.items())
        change = {(False, True): "created", (True, False): "deleted", (False, False): "changed"}.get(tuple(is_present))
        if change is None:
            change = "recreated" if made_again or was[1].incarnation != now[1].incarnation else "changed"
        rows.append({"source": key[0], "subject": key[1], "trigger": key[2], "cluster": key[3], "change": change,
                     "before": was[0], "after": now[0]})
    return rows
