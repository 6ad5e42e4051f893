"""How two answers are compared: field by field, to the first difference.

What an answer leaves out is null or empty. Sentences, and what depends on the clock of the machine, are compared by their form.
"""

import re


class Form(str):
    """A pattern that a text matches as a whole."""

    def __eq__(self, other):
        return isinstance(other, str) and re.fullmatch(self, other, re.DOTALL) is not None

    __hash__ = str.__hash__


class Any:
    """Whatever is there, also nothing."""

    def __repr__(self):
        return "(anything)"


ANY = Any()
TEXT = Form(".+")


class Maybe:
    """Nothing, or this."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"(nothing, or {self.value!r})"


def is_nothing(value):
    return value is None or value == []


def difference(model, engine, path=""):
    """Where the first difference is, and both sides there: (path, engine, model). `None` where there is none."""
    if model is ANY or isinstance(model, Maybe) and is_nothing(engine):
        return None
    model = model.value if isinstance(model, Maybe) else model
    if is_nothing(model) and is_nothing(engine):
        return None
    if isinstance(model, dict) and isinstance(engine, dict):
        for name in [*model, *(name for name in engine if name not in model)]:
            found = difference(model.get(name), engine.get(name), f"{path}.{name}")
            if found:
                return found
        return None
    if isinstance(model, (list, tuple)) and isinstance(engine, list):
        for at, (one, other) in enumerate(zip(model, engine)):
            found = difference(one, other, f"{path}[{at}]")
            if found:
                return found
        if len(model) != len(engine):
            at = min(len(model), len(engine))
            return f"{path}[{at}]", dict(enumerate(engine)).get(at), dict(enumerate(model)).get(at)
        return None
    return None if model == engine else (path, engine, model)
