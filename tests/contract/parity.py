"""Compare our document with the contract and with the newest SDK's operation table."""

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from contract.specs import (
    Json,
    Route,
    SdkOperation,
    answers_of,
    body_of,
    query_of,
    resolve,
    routes,
    scopes_of,
)


class Finding(NamedTuple):
    """A difference: in which operation, of what kind, where in it, and what it is."""

    operation: str
    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.kind} {self.where}: {self.text}"


class Allowance(NamedTuple):
    """Differences that are meant; fields are patterns, and ``why`` is for people."""

    operation: str
    kind: str
    where: str
    why: str

    def covers(self, finding: Finding) -> bool:
        """Whether it speaks of that finding."""
        pairs = zip(self[:3], finding[:3], strict=True)
        return all(fnmatchcase(text, pattern) for pattern, text in pairs)


def allowances(path: Path) -> list[Allowance]:
    """The allow-list in a TOML file."""
    entries = tomllib.loads(path.read_text()).get("allow", [])
    return [
        Allowance(entry.get("operation", "*"), entry["kind"], entry.get("where", "*"), entry["why"])
        for entry in entries
    ]


def compare(contract: Json, sdk: dict[Route, SdkOperation], ours: Json) -> list[Finding]:
    """All differences; one shape that many operations share is reported once."""
    comparison = Comparison(contract, ours)
    known, served = routes(contract), routes(ours)
    found: list[Finding] = []
    for route in sorted({*known, *sdk}):
        name = known[route]["operationId"] if route in known else sdk[route].name
        if route not in served:
            found.append(Finding(name, "missing operation", str(route), "not served"))
            continue
        if route in known:
            found += comparison.operation(name, known[route], served[route])
        if route in sdk:
            found += comparison.sdk(name, sdk[route], served[route], known.get(route))
    return list(dict.fromkeys(found))


class Comparison:
    """Walks pairs of schemas, each pair of named ones once."""

    def __init__(self, contract: Json, ours: Json) -> None:
        self.contract = contract
        self.ours = ours
        self.seen: set[tuple[str, str, bool]] = set()

    def operation(self, name: str, theirs: Json, ours: Json) -> Iterator[Finding]:
        """Everything about one operation of the contract."""
        if ours["operationId"] != name:
            yield Finding(name, "operation id", "", f"called {ours['operationId']}")
        if ours.get("x-serai-undeclared"):
            yield Finding(name, "undeclared", "", "the handler declares no id or no answer")
        scopes = scopes_of(theirs), scopes_of(ours)
        if scopes[0] != scopes[1]:
            yield Finding(name, "scope", " ".join(scopes[0]), f"ours: {' '.join(scopes[1])}")
        yield from self._query(name, theirs, ours)
        yield from self._answers(name, theirs, ours)
        yield from self._body(name, theirs, ours)

    def sdk(
        self, name: str, theirs: SdkOperation, ours: Json, known: Json | None
    ) -> Iterator[Finding]:
        """What the newest SDK sends and parses beyond the contract."""
        served = query_of(self.ours, ours)
        told = query_of(self.contract, known) if known else {}
        for parameter in sorted(theirs.query - served.keys() - told.keys()):
            yield Finding(name, "query parameter", parameter, "the newest SDK sends it")
        if known is not None:
            return
        if ours["operationId"].lower() != theirs.plain:
            yield Finding(name, "operation id", "", f"called {ours['operationId']}")
        wanted = {code for code in theirs.answers if code < 300} or {200}
        if wanted != answers_of(self.ours, ours).keys():
            have = sorted(answers_of(self.ours, ours))
            yield Finding(name, "status", f"{sorted(wanted)}", f"ours: {have}")
        if theirs.body and "requestBody" not in ours:
            yield Finding(name, "body", theirs.body, "no body declared")

    def _query(self, name: str, theirs: Json, ours: Json) -> Iterator[Finding]:
        wanted, served = query_of(self.contract, theirs), query_of(self.ours, ours)
        for parameter, schema in wanted.items():
            if parameter not in served:
                yield Finding(name, "query parameter", parameter, "not accepted")
                continue
            values = set(resolve(self.contract, schema).get("enum", ()))
            have = set(resolve(self.ours, served[parameter]).get("enum", ()))
            if (have and values - have) or (values and not have):
                yield Finding(name, "enum", f"?{parameter}", f"lacks {sorted(values - have)}")

    def _answers(self, name: str, theirs: Json, ours: Json) -> Iterator[Finding]:
        wanted, served = answers_of(self.contract, theirs), answers_of(self.ours, ours)
        if wanted.keys() != served.keys():
            yield Finding(name, "status", f"{sorted(wanted)}", f"ours: {sorted(served)}")
        for status in sorted(wanted.keys() & served.keys()):
            schema, have = wanted[status], served[status]
            if schema is None:
                continue
            if have is None:
                yield Finding(name, "answer", str(status), "empty or undescribed here")
            else:
                yield from self.shapes(name, f"{name}.{status}", schema, have, answer=True)

    def _body(self, name: str, theirs: Json, ours: Json) -> Iterator[Finding]:
        schema, have = body_of(self.contract, theirs), body_of(self.ours, ours)
        if schema is None:
            return
        if have is None:
            yield Finding(name, "body", "", "no body declared")
        else:
            yield from self.shapes(name, f"{name}.body", schema, have, answer=False)

    def shapes(
        self, name: str, where: str, theirs: Json, ours: Json, *, answer: bool
    ) -> Iterator[Finding]:
        """Differences between two schemas, down to the last field."""
        if "$ref" in theirs:
            pair = theirs["$ref"], repr(sorted(ours.items(), key=str)), answer
            if pair in self.seen:
                return
            self.seen.add(pair)
            where = theirs["$ref"].rpartition("/")[2]
        theirs, ours = resolve(self.contract, theirs), resolve(self.ours, ours)
        if "oneOf" in theirs or "anyOf" in theirs or "anyOf" in ours:
            return
        yield from _enum(name, where, theirs, ours, answer)
        if theirs.get("type") == "array":
            if ours.get("type") != "array":
                yield Finding(name, "shape", where, f"an array there, {_type(ours)} here")
            else:
                items = theirs.get("items", {}), ours.get("items", {})
                yield from self.shapes(name, f"{where}[]", *items, answer=answer)
        elif theirs.get("properties"):
            yield from self._fields(name, where, theirs, ours, answer)

    def _fields(
        self, name: str, where: str, theirs: Json, ours: Json, answer: bool
    ) -> Iterator[Finding]:
        fields = ours.get("properties")
        if fields is None:
            kind = "open shape" if ours.get("type") == "object" else "shape"
            yield Finding(name, kind, where, f"an object with fields there, {_type(ours)} here")
            return
        required = set(theirs.get("required", ())) if answer else set()
        for field, schema in theirs["properties"].items():
            place = f"{where}.{field}"
            if field not in fields:
                kind = "required field" if field in required else "field"
                yield Finding(name, kind, place, "not here")
                continue
            if field in required and field not in ours.get("required", ()):
                yield Finding(name, "required field", place, "may be absent here")
            yield from self.shapes(name, place, schema, fields[field], answer=answer)


def _enum(name: str, where: str, theirs: Json, ours: Json, answer: bool) -> Iterator[Finding]:
    wanted = set(theirs.get("enum", ()))
    have = set(ours.get("enum", ())) | ({ours["const"]} if "const" in ours else set())
    if not wanted or wanted == have:
        return
    if have:
        lacking, extra = sorted(wanted - have), sorted(have - wanted, key=str)
        yield Finding(name, "enum", where, f"lacks {lacking}, has besides {extra}")
    else:
        yield Finding(name, "enum", where, f"any text here, {sorted(wanted)} there")


def _type(schema: Json) -> str:
    return str(schema.get("type", "anything"))
