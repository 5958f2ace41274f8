"""Policies of types ``location`` and ``flavor``: may something run on this machine?

A policy lists what is allowed. Of several policies of one type it is enough that one allows it
(union); the types must all allow it (intersection), as the contract has it. A machine is in one
place: the region it declares, whatever region a workload names. A policy that names a place or a
flavor which nobody knows is refused when it is written, and allows nothing by that name if it got
here another way.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from serai.catalog.countries import CONTINENTS, COUNTRIES
from serai.catalog.places import ARCHITECTURES, Places
from serai.kernel.errors import BadRequest, Forbidden
from serai.resources import documents
from serai.resources.kind import Body, Kind
from serai.resources.kinds import MODELS, POLICIES
from serai.wire.catalog import Location

_TYPES = ("location", "flavor")
_LISTS = {"location": "locations", "flavor": "flavors"}


class PolicyProhibits(Forbidden):
    """A policy of locations or flavors does not allow this here (403)."""

    code = "POLICY_VIOLATION"


class Attached(NamedTuple):
    """A policy that a resource names: its name and its spec."""

    name: str
    spec: Body


class Placement:
    """What policies allow on this machine, asked whenever something is written or routed."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def check(self, conn: Connection, kind: Kind, workspace: str, body: Body) -> None:
        """The rule of the document store: whatever is written passes through here.

        Models may be written whatever their policies say: their calls are refused.

        Raises:
            BadRequest: a policy names what nobody knows; a sandbox names a policy that is none.
            PolicyProhibits: the policies that the body names do not allow it to run here.
        """
        spec = body["spec"]
        if kind is POLICIES:
            self.check_units(spec)
        elif kind is not MODELS and (named := spec.get("policies")):
            found = attached(conn, workspace, named)
            if kind.name == "sandbox":
                _need_all(named, found)
            self.demand(kind.name, found, spec.get("flavors"))

    def demand(
        self, kind: str, policies: Sequence[Attached], flavors: list[Body] | None = None
    ) -> None:
        """Let something of a kind run here.

        Args:
            kind: as ``spec.resourceTypes`` of policies has it.
            policies: those it names.
            flavors: those it asks for itself.

        Raises:
            PolicyProhibits: says what is allowed, and what this machine is.
        """
        for type_ in _TYPES:
            allowing = [one for one in policies if _concerns(one.spec, kind, type_)]
            entries = [entry for one in allowing for entry in one.spec.get(_LISTS[type_]) or []]
            if not allowing:
                continue
            if type_ == "location":
                fits = any(self._is_here(entry) for entry in entries)
            else:
                offered = [one for one in self._flavors() if _matches_any(one, flavors)]
                fits = any(_is_flavor(entry, one) for entry in entries for one in offered)
            if not fits:
                raise self._refusal(kind, type_, allowing, entries)

    def check_units(self, spec: Body) -> None:
        """Refuse a policy that names a place or a flavor which nobody knows.

        Raises:
            BadRequest: names the entry, what is known, and where to add more.
        """
        for index, entry in enumerate(spec.get("locations") or []):
            self._check_place(entry, f"spec.locations[{index}]")
        for index, entry in enumerate(spec.get("flavors") or []):
            self._check_flavor(entry, f"spec.flavors[{index}]")

    def _check_place(self, entry: Body, field: str) -> None:
        type_, name = entry.get("type"), entry.get("name") or ""
        known = self._known_places()
        if type_ not in known:
            raise BadRequest(f"{field}.type is missing: it is one of {', '.join(known)}.")
        if name.lower() in known[type_]:
            return
        examples = {"country": "an ISO code such as us", "continent": ", ".join(sorted(CONTINENTS))}
        listed = examples.get(type_) or ", ".join(sorted(known[type_]))
        raise BadRequest(
            f"{field}.name {name[:60]!r} is no known {type_}: use {listed}, or list it in the"
            " operator's catalogue/locations.toml."
        )

    def _check_flavor(self, entry: Body, field: str) -> None:
        known = self._known_flavors()
        if any(_is_flavor(entry, one) for one in known):
            return
        names = ", ".join(sorted({f"{one['name']} ({one['type']})" for one in known}))
        raise BadRequest(
            f"{field} {_word(entry)!r} is no known flavor: use {names}, or list it with its"
            " location in the operator's catalogue/locations.toml."
        )

    def _known_places(self) -> dict[str, frozenset[str]]:
        configuration, locations = self._places.configuration(), self._places.locations()
        names = {one.region for one in locations} | {one.location for one in locations}
        names |= {one.name for one in configuration.private_locations}
        return {
            "location": frozenset(name.lower() for name in names),
            "country": COUNTRIES | {one.name.lower() for one in configuration.countries},
            "continent": CONTINENTS | {one.name.lower() for one in configuration.continents},
        }

    def _known_flavors(self) -> list[Body]:
        here = [_flavor(one) for place in self._places.locations() for one in place.flavors or []]
        return [*here, *self._flavors(), *({"name": n, "type": "cpu"} for n in ARCHITECTURES)]

    def _flavors(self) -> list[Body]:
        return [_flavor(one) for one in self._places.flavors()]

    def _is_here(self, entry: Body) -> bool:
        here, name = self._places.here(), (entry.get("name") or "").lower()
        return bool(name) and name in _names(here, entry.get("type"))

    def _refusal(
        self, kind: str, type_: str, policies: Sequence[Attached], entries: Iterable[Body]
    ) -> PolicyProhibits:
        allowed, names = [_word(entry) for entry in entries], [one.name for one in policies]
        here = self._places.here()
        if type_ == "location":
            parts = (here.region, here.country, here.continent)
            is_ = f"this machine is in {', '.join(part for part in parts if part)}"
            fix = " Its operator says where it is in catalogue/locations.toml."
        else:
            offered = [_word(one) for one in self._flavors()]
            is_, fix = f"this machine offers {', '.join(offered) or 'none'}", ""
        return PolicyProhibits(
            f"The {type_} {'policy' if len(names) == 1 else 'policies'} {_quoted(names)} of this"
            f" {kind} {'allows' if len(names) == 1 else 'allow'} {', '.join(allowed) or 'nothing'};"
            f" {is_}.{fix}",
            details={"policies": names, "type": type_, "allowed": allowed},
        )


def attached(conn: Connection, workspace: str, names: Iterable[str]) -> list[Attached]:
    """Those of the named policies that exist."""
    found = []
    for name in dict.fromkeys(names):
        document = documents.find(conn, workspace, POLICIES.name, name)
        if document is not None:
            found.append(Attached(name, msgspec.json.decode(document.body)["spec"]))
    return found


def _need_all(named: Iterable[str], found: Iterable[Attached]) -> None:
    missing = [name for name in named if name not in {one.name for one in found}]
    if missing:
        raise BadRequest(
            f"spec.policies names {missing[0]!r}, which does not exist: create the policy first.",
            code="POLICY_NOT_FOUND",
        )


def _concerns(spec: Body, kind: str, type_: str) -> bool:
    """Whether a policy is of that type and about that kind; without a list it is about all."""
    kinds = spec.get("resourceTypes")
    return spec.get("type") == type_ and (not kinds or kind in kinds)


def _names(place: Location, type_: str | None) -> set[str]:
    """What a place is called, in lower case, as a location, a country or a continent."""
    called = {
        "location": (place.region, place.location),
        "country": (place.country,),
        "continent": (place.continent,),
    }.get(type_ or "", ())
    return {name.lower() for name in called if name}


def _flavor(one: Any) -> Body:
    return {"name": one.name or "", "type": one.type or ""}


def _is_flavor(entry: Body, one: Body) -> bool:
    """Whether an entry means a flavor: by its name, its type, or both."""
    given = {key: value.lower() for key in ("name", "type") if (value := entry.get(key))}
    return bool(given) and all(one[key].lower() == value for key, value in given.items())


def _matches_any(one: Body, wanted: list[Body] | None) -> bool:
    return not wanted or any(_is_flavor(entry, one) for entry in wanted)


def _word(entry: Body) -> str:
    name, type_ = entry.get("name") or "", entry.get("type") or ""
    return f"{type_} {name}".strip() if type_ != name else name


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
