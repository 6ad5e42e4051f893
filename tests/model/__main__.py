"""Asks an engine all it can be asked, asks the model the same, and prints what differs.

    python3 tests/model --data DIR --program lifeline --seed N --server URL     # a running engine
    python3 tests/model --data DIR --program lifeline --seed N --stopped        # the folder of a stopped one

The model knows the log (`log.py`, `facts.py`) and the documents, and nothing of the engine. One file has one idea: `fold.py` the state
that records give, `lists.py` the rows of lists, `entries.py` records as they are shown, `why.py` what came of what, `order.py` which of
two events is the later one. `ask.py` asks, `compare.py` compares. What the model leaves open is `ANY`, a sentence is `TEXT`.

Exit code: 0 when all answers agree, 1 when one differs.
"""

import argparse
import random
import sys

import ask
import entries
import facts
import fold
import lists
import order
import why
from compare import ANY, difference

LISTS = {"resources": lists.resources, "lifecycles": lists.lifecycles, "objects": lists.objects, "conflicts": lists.conflicts,
         "rules": lists.rules}
# An engine that records meanwhile is asked again, so often.
TIMES_ASKED = 5


class Trial:
    """One log, and who is asked about it."""

    def __init__(self, arguments):
        self.seed, self.program, self.data = arguments.seed, arguments.program, arguments.data
        self.random = random.Random(arguments.seed)
        self.records = facts.read_all(f"{arguments.data}/log")
        self.end = len(self.records)
        self.states = {}
        self.asked, self.differing = 0, []

    def state(self, end):
        if end not in self.states:
            self.states[end] = fold.State(self.records, end)
        return self.states[end]

    def check(self, question, engine, model):
        self.asked += 1
        if found := difference(model, engine):
            path, said, meant = found
            self.differing.append(f"{question}\n  seed {self.seed}: the first field that differs is `{path or '.'}`\n"
                                  f"  the engine says  {said!r}\n  the model says   {meant!r}")

    def sample(self, held, count):
        return sorted(self.random.sample(held, min(count, len(held))))

    def keys(self):
        """Resources that records speak of, and one that none does."""
        return sorted({key for record in self.records for key in fold.resources_of(record)})

    def filters(self):
        """Parameters of lists: none, each alone, and a few together."""
        keys = self.keys() or [("", "")]
        source, subject = self.random.choice(keys)
        some = [
            {"source": source}, {"source": "auth.example.com"}, {"subject": subject}, {"source": source, "subject": subject},
            {"trigger": self.random.choice(["plain", "shared-1", "shared-2", "list", "none"])}, {"cluster": "mgmt/mgmt"},
            {"age_min": 86400}, {"age_max": 86400, "source": source}, {"gone": "true"}, {"gone": "false"},
            {"phase": self.random.choice(lists.PHASES).lower()}, {"phase": "FAILING"},
            {"kind": self.random.choice(["ns", "Namespace", "namespaces", "cm", "configmap", "Secret"])},
        ]
        both = {**self.random.choice(some), **self.random.choice(some)}
        return [{}, both, *self.random.sample(some, 5)]

    def moment(self):
        """An earlier state: the parameter, and the offset below which it is. A time is that of a record, as it is shown."""
        at = self.random.randrange(self.end)
        if self.random.random() < 0.5:
            return str(at), at
        shown = lists.time_text(self.records[at]["time"])
        return shown, sum(lists.time_text(record["time"]) <= shown for record in self.records)


def ask_running(trial, url):
    """Everything over HTTP."""
    engine = ask.Engine(url)
    order.check(trial)
    for name, rows in LISTS.items():
        for given in trial.filters() if name not in ("conflicts", "rules") else [{}]:
            limit = {"limit": trial.random.choice([1, 2, 7, 1000])}
            pages(trial, engine, name, rows, given, limit, trial.end)
            moment, end = trial.moment()
            pages(trial, engine, name, rows, given, {**limit, "as_of": moment}, end)
    for source, subject in [*trial.keys(), ("no", "such")]:
        resource(trial, engine, source, subject, {}, trial.end)
        moment, end = trial.moment()
        resource(trial, engine, source, subject, {"as_of": moment}, end)
        history(trial, engine, source, subject)
    records(trial, engine)
    for moment in range(4):
        differences(trial, engine)
    for offset in trial.sample(range(trial.end), 25):
        answer = {"offset": trial.end, "item": why.detail(trial.state(trial.end), trial.records, offset)}
        trial.check(f"/v1/event?offset={offset}", engine.get("/v1/event", offset=offset), answer)
        answer = {"offset": trial.end, "item": why.event(trial.state(trial.end), trial.records, offset)}
        trial.check(f"/v1/why/event?offset={offset}", engine.get("/v1/why/event", offset=offset), answer)
    for named in trial.sample(sorted(why.objects(trial.records)), 12):
        given = {"kind": named[2], "name": named[4], **({"namespace": named[3]} if named[3] else {}), "cluster": named[0]}
        answer = {"offset": trial.end, "item": why.why_object(trial.state(trial.end), trial.records, named)}
        trial.check(f"/v1/why/object {given}", engine.get("/v1/why/object", **given), answer)
    stuck(trial, engine)
    status(trial, engine.get("/v1/status"))
    watches(trial, engine)
    for name in ("drift", "dry-run", "orphans", "conflicts/foreign"):
        trial.check(f"/v1/{name}", engine.get(f"/v1/{name}").get("items"), [])
    trial.check("/v1/verify", engine.get("/v1/verify")["item"]["sound"], True)
    commands(trial, 3, "--server", url)


def pages(trial, engine, name, rows, given, more, end):
    got = engine.pages(f"/v1/{name}", **given, **more)
    question = f"/v1/{name} {given} {more}"
    if "status" in got[0]:
        return trial.check(question, got[0], {"offset": end})
    model = rows(trial.state(end), given)
    trial.check(f"{question}: offsets", {page["offset"] for page in got}, {end})
    trial.check(f"{question}: rows in a page", max(len(page["items"]) for page in got) <= more["limit"], True)
    trial.check(question, [row for page in got for row in page["items"]], model)


def resource(trial, engine, source, subject, more, end):
    state = trial.state(end)
    held = state.resources.get((source, subject))
    model = {"status": 404, "code": "unknown-resource", "body": ANY}
    if held:
        details = [row for row in lists.lifecycles(state, {"source": source, "subject": subject}) if row["source"] == source]
        model = {"offset": end, "item": {**lists.resource_row(source, subject, held), "lifecycles_detail": details}}
    question = {"source": source, "subject": subject, **more}
    trial.check(f"/v1/resource {question}", engine.get("/v1/resource", **question), model)


def history(trial, engine, source, subject):
    """All of it, by pages that go back from the latest one."""
    limit = trial.random.choice([1, 3, 1000])
    got = engine.pages("/v1/history", cursor="before", source=source, subject=subject, limit=limit)
    question = f"/v1/history source={source!r} subject={subject!r} limit={limit}"
    model = entries.history(trial.state(trial.end), trial.records, (source, subject), is_whole=limit == 1000)
    if not model:
        return trial.check(question, got[0], {"status": 404, "code": "unknown-resource", "body": ANY})
    trial.check(question, [row for page in reversed(got) for row in page["items"]], model)


def records(trial, engine):
    """The records, forwards and backwards, with filters."""
    state = trial.state(trial.end)
    source, subject = trial.random.choice(trial.keys())
    some = [{"rejected": "true"}, {"rejected": "false"}, {"source": source}, {"subject": subject}, {"type": "logout"},
            {"source": source, "subject": subject}, {"source": source, "type": "login"}]
    for given in [{}, *trial.random.sample(some, 4)]:
        limit = trial.random.choice([2, 9, 1000])
        at = trial.random.randrange(trial.end)
        shown = lists.time_text(trial.records[at]["time"])
        since = [record for record in trial.records if lists.time_text(record["time"]) >= shown]
        ways = [
            ({}, "after", trial.records), ({"after": at}, "after", trial.records[at + 1 :]),
            ({"latest": "true"}, "before", trial.records),
            ({"before": at}, "before", trial.records[:at]), ({"since": at}, "after", trial.records[at:]), ({"since": shown}, "after", since),
        ]
        for more, cursor, held in trial.random.sample(ways, 3):
            got = engine.pages("/v1/events", cursor=cursor, limit=limit, **given, **more)
            rows = [row for page in (got if cursor == "after" else reversed(got)) for row in page.get("items", [page])]
            trial.check(f"/v1/events {given} {more} limit={limit}", rows, entries.events(state, held, given))


def differences(trial, engine):
    moments = sorted([trial.moment(), trial.moment()], key=lambda moment: moment[1])
    (since, begin), (until, end) = moments
    given = trial.random.choice(trial.filters()[:3])
    given = {name: value for name, value in given.items() if name not in ("gone", "kind", "age_min", "age_max")}
    got = engine.pages("/v1/difference", **{"from": since, "to": until, "limit": trial.random.choice([1, 1000])}, **given)
    question = f"/v1/difference from={since} to={until} {given}"
    model = lists.difference(trial.state(begin), trial.state(end), given)
    trial.check(question, [row for page in got for row in page.get("items", [page])], model)


def stuck(trial, engine):
    for given in ({"longer_than": 0}, {"longer_than": 3600}):
        got = engine.pages("/v1/stuck", limit=trial.random.choice([1, 1000]), **given)
        model = lists.stuck(trial.state(trial.end), given, trial.state(trial.end).time)
        trial.check(f"/v1/stuck {given}", [row for page in got for row in page.get("items", [page])], model)
        moment, end = trial.moment()
        got = engine.pages("/v1/stuck", limit=1000, as_of=moment, **given)
        model = lists.stuck(trial.state(end), given, trial.state(end).time)
        trial.check(f"/v1/stuck {given} as_of={moment}", [row for page in got for row in page.get("items", [page])], model)


def status(trial, answer):
    """What of the status the log says."""
    state = trial.state(trial.end)
    phases = [lifecycle.phase() for *_, lifecycle in state.lifecycles()]
    model = {
        "recorded": trial.end, "folded": trial.end, "resources": len(state.resources),
        "triggers": sum(name.startswith("EventTrigger/") for name in state.rules),
        "phases": [[phase, phases.count(phase)] for phase in lists.PHASES if phase in phases],
        "open": sum(phase in ("Failing", "Pending", "Deleting") for phase in phases),
        "streams": [{"cluster": cluster, "stream": stream, **row} for (cluster, stream), row in sorted(state.streams.items())],
    }
    engine = {name: answer[name] for name in model}
    engine["streams"] = [{name: row[name] for name in model["streams"][0]} for row in answer["streams"]]
    trial.check("/v1/status", engine, model)


def watches(trial, engine):
    """A list by a watch, and what an earlier list becomes by the changes since."""
    for name in ("resources", "lifecycles", "objects", "rules"):
        key = row_key(name)
        model = sorted(LISTS[name](trial.state(trial.end), {}), key=key)
        got = engine.watch(lambda _: False, noun=name)
        trial.check(f"/v1/watch noun={name}: bookmark", got.pop(), ("bookmark", {"offset": trial.end}))
        trial.check(f"/v1/watch noun={name}", sorted((data["item"] for _, data in got), key=key), model)
        begin = trial.random.randrange(trial.end)
        before = LISTS[name](trial.state(begin), {})
        got = engine.watch(lambda events: changed(before, events, key) == model, noun=name, **{"from": begin})
        if not got or got[-1][0] != "expired":
            trial.check(f"/v1/watch noun={name} from={begin}", changed(before, got, key), model)
    begin = trial.random.randrange(trial.end)
    got = engine.watch(lambda events: len(events) == trial.end - begin, noun="events", **{"from": begin})
    rows = [data["item"] for event, data in got if event == "item"]
    trial.check(f"/v1/watch noun=events from={begin}", rows, entries.events(trial.state(trial.end), trial.records[begin:], {}))


def changed(rows, events, key):
    """The rows after what a watch sent, in order. The clock of a row is that of its record, so an equal row is as it was."""
    rows = {key(row): row for row in rows}
    for event, data in events:
        if event in ("item", "removed"):
            rows.pop(key(data["item"]), None)
        if event == "item":
            rows[key(data["item"])] = data["item"]
    return [rows[key] for key in sorted(rows)]


def row_key(name):
    """What identifies a row."""
    parts = {"resources": ("source", "subject"), "lifecycles": ("source", "subject", "trigger", "cluster"), "rules": ("rule",),
             "objects": ("source", "subject", "trigger", "cluster", "group", "kind", "namespace", "name")}[name]
    return lambda row: tuple(row[part] or "" for part in parts)


def commands(trial, count, *where):
    """Some of the same with the program: of a running engine, or of a folder."""
    state, say = trial.state(trial.end), trial.random
    moment, end = trial.moment()
    source, subject = say.choice(trial.keys())
    offset = say.randrange(trial.end)
    rows = {name: ("get", name) for name in ("resources", "lifecycles", "objects", "rules")}
    questions = [
        *((words, {"offset": trial.end, "items": LISTS[name](state, {})}) for name, words in rows.items()),
        (("get", "lifecycles", "--as-of", moment, "--gone=false"),
         {"offset": end, "items": lists.lifecycles(trial.state(end), {"gone": "false"})}),
        (("get", "events", "--limit", "1000", "--rejected=false"),
         {"items": entries.events(state, trial.records, {"rejected": "false"}), "offset": trial.end}),
        (("history", source, subject, "--limit", "1000"),
         {"items": entries.history(state, trial.records, (source, subject), is_whole=True), "offset": trial.end}),
        (("why", "event", str(offset)), {"item": why.event(state, trial.records, offset), "offset": trial.end}),
        (("get", "event", str(offset)), {"item": why.detail(state, trial.records, offset), "offset": trial.end}),
        (("diff", str(min(end, offset)), str(max(end, offset))),
         {"offset": max(end, offset), "from": min(end, offset),
          "items": lists.difference(trial.state(min(end, offset)), trial.state(max(end, offset)), {})}),
        (("status",), None),
    ]
    for words, model in say.sample(questions, count):
        got = ask.program(trial.program, *words, *where)
        if model is None:
            status(trial, got)
        else:
            trial.check(f"lifeline {' '.join(words)}", got, model)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the data folder of the engine")
    parser.add_argument("--program", required=True, help="the `lifeline` program")
    parser.add_argument("--seed", type=int, default=1, help="which questions are asked")
    parser.add_argument("--shown", type=int, default=5, help="how many differences are printed [default: 5]")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--server", help="the URL of the running engine")
    who.add_argument("--stopped", action="store_true", help="the engine is stopped")
    arguments = parser.parse_args()
    for _ in range(TIMES_ASKED):
        trial = Trial(arguments)
        if arguments.server:
            ask_running(trial, arguments.server)
        else:
            commands(trial, 2, "--data", arguments.data)
        if len(facts.read_all(f"{arguments.data}/log")) == trial.end:
            break
    print(f"{trial.asked} answers about {trial.end} records, {len(trial.differing)} differ")
    for difference_text in trial.differing[: arguments.shown]:
        print(difference_text)
    return 1 if trial.differing else 0


sys.exit(main())
