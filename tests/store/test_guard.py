"""The guard of the database, through its public interface: statements that forgot a condition."""

import asyncio
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import and_, bindparam, delete, func, insert, or_, select, text, union, update

from serai.identity.principal import Principal
from serai.store import tables
from serai.store.database import Database
from serai.store.guard import OutOfReach
from serai.store.reach import current, unbounded, within
from serai.store.tables import metadata
from serai.store.tables.documents import document_events, documents
from serai.store.tables.identity import memberships, users, workspaces
from serai.store.tables.lines import line_metadata
from serai.store.tables.sharing import image_shares, images
from serai.store.tables.usage import usage_metadata
from serai.store.tenancy import GLOBAL, OWNED

D, W, U, M = documents.c, workspaces.c, users.c, memberships.c
OWN = D.workspace == "mine"
EVENT = document_events.c.document_id
pytestmark = pytest.mark.filterwarnings("ignore:.*cartesian product")
ME = Principal(
    subject="me",
    email="me@example.com",
    account_id="acc-mine",
    account_admin=False,
    workspaces={"mine": "member", "second": "admin"},
    credential_id="key",
)


def row(workspace: str, name: str = "one") -> dict[str, Any]:
    """A document."""
    values = {"id": f"{workspace}-{name}", "workspace": workspace, "kind": "agent", "name": name}
    values |= {
        "status": "DEPLOYED",
        "created_at": "t",
        "updated_at": "t",
        "search": "",
        "body": "{}",
    }
    return values | {"generation": 1}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "serai.db")
    made.open()
    rows = [row("mine"), row("second"), row("theirs")]
    made.submit(lambda conn: conn.execute(insert(documents), rows)).result()
    yield made
    made.close()


def run(db: Database, statement: Any, *values: Any) -> list[Any]:
    """What a read within my reach finds."""

    async def read() -> list[Any]:
        with within(ME):
            return await db.read(lambda conn: list(conn.execute(statement, *values)))

    return asyncio.run(read())


def change(db: Database, statement: Any, *values: Any) -> int:
    """How many rows a write within my reach touches."""

    async def write() -> int:
        with within(ME):
            return await db.write(lambda conn: conn.execute(statement, *values).rowcount)

    return asyncio.run(write())


def stored(db: Database) -> list[tuple[str, str]]:
    return asyncio.run(
        db.read(lambda conn: [(r.id, r.workspace) for r in conn.execute(select(documents))])
    )


def test_every_table_says_whose_its_rows_are() -> None:
    for module in pkgutil.iter_modules(tables.__path__):
        importlib.import_module(f"{tables.__name__}.{module.name}")
    known = {**metadata.tables, **usage_metadata.tables, **line_metadata.tables}
    assert {*OWNED, *GLOBAL} == set(known)
    assert not {*OWNED} & {*GLOBAL}
    for name, owned in OWNED.items():
        assert {*owned.owners, *owned.links} <= set(known[name].c.keys()), name
        assert owned.owners or owned.links, name
    for name in GLOBAL:
        assert not {"workspace", "account_id"} & set(known[name].c.keys()), name


RIGHT: dict[str, Any] = {
    "a workspace": select(D.id).where(OWN),
    "one of several": select(D.id).where(D.workspace.in_(["mine", "second"])),
    "none of none": select(D.id).where(D.workspace.in_([])),
    "without the index": select(D.id).where(D.workspace.concat("") == "mine"),
    "either of two": select(D.id).where(or_(OWN, and_(D.workspace == "second", D.name == "x"))),
    "an alias": select((alias := documents.alias()).c.id).where(alias.c.workspace == "mine"),
    "a join": select(document_events).join(documents, D.id == document_events.c.document_id)
    .where(OWN),
    "a part by its thing": select(document_events).where(EVENT == "mine-one"),
    "a query in a condition": select(document_events).where(
        document_events.c.document_id.in_(select(D.id).where(OWN))
    ),
    "a query in the place of a table": select((inner := select(D.id).where(OWN).subquery()).c.id),
    "two queries": union(select(D.id).where(OWN), select(D.id).where(D.workspace == "second")),
    "members of a workspace": select(users, M.role)
    .join(workspaces, W.account_id == U.account_id)
    .outerjoin(memberships, and_(M.user_id == U.id, M.workspace == "mine"))
    .where(W.name == "mine"),
    "what is shared with me": select(images.c.id).where(
        images.c.workspace == "theirs",
        or_(
            images.c.workspace == "mine",
            images.c.id.in_(select(image_shares.c.image_id).where(image_shares.c.target == "mine")),
        ),
    ),
    "exists": select(W.name).where(
        W.name == "mine", select(D.id).where(D.workspace == W.name).exists()
    ),
}  # fmt: skip


@pytest.mark.parametrize("statement", RIGHT.values(), ids=RIGHT)
def test_what_keeps_to_the_reach_runs(db: Database, statement: Any) -> None:
    for _ in range(2):
        assert all("theirs" not in found for found in map(str, run(db, statement)))


WRONG: dict[str, Any] = {
    "no condition": select(documents),
    "of another column": select(documents).where(D.kind == "agent", D.name == "one"),
    "by id alone": select(documents).where(D.id == "theirs-one"),
    "a foreign workspace": select(documents).where(D.workspace == "theirs"),
    "one of them foreign": select(documents).where(D.workspace.in_(["mine", "theirs"])),
    "not equal": select(documents).where(D.workspace != "nowhere"),
    "less": select(documents).where(D.workspace < "z"),
    "like": select(documents).where(D.workspace.like("%")),
    "itself": select(documents).where(D.workspace == D.workspace),
    "negated": select(documents).where(~and_(OWN, D.name == "other")),
    "either": select(documents).where(or_(OWN, D.kind == "agent")),
    "concatenated": select(documents).where(D.workspace.concat("irs") == "theirs"),
    "computed": select(documents).where(D.workspace == func.lower("THEIRS")),
    "as text": text("SELECT * FROM documents"),
    "a condition as text": select(documents).where(text("workspace = 'theirs'")),
    "a table as text": select(text("id")).select_from(text("documents")),
    "a query as text": select(D.id).where(OWN, text("EXISTS (SELECT 1 FROM documents)")),
    "a second table": select(documents, workspaces).where(OWN),
    "two aliases": select((left := documents.alias()).c.id, (right := documents.alias()).c.body)
    .where(left.c.workspace == "mine"),
    "joined by another column": select((far := documents.alias()).c.body)
    .join(documents, D.name == far.c.name)
    .where(OWN),
    "the outer side": select(documents).outerjoin(
        document_events, and_(document_events.c.document_id == D.id, OWN)
    ),
    "a query over all in a condition": select(D.id).where(OWN, D.name.in_(select(U.email))),
    "a query over all in a column": select(
        D.id, select(func.count()).select_from(users).scalar_subquery()
    ).where(OWN),
    "a query over all in the place of a table": select(
        (every := select(D.id).subquery()).c.id
    ),
    "one of two queries": union(select(D.id).where(OWN), select(D.id)),
    "in the order": select(D.id).where(OWN).order_by(
        select(U.email).limit(1).scalar_subquery()
    ),
    "another's memberships": select(memberships).where(M.user_id == "somebody"),
    "the account's users": select(users).where(U.account_id == "acc-theirs"),
    "all workspaces of the account, as a member": select(workspaces).where(
        W.account_id == "acc-mine"
    ),
    "a part without its thing": select(document_events),
}  # fmt: skip


@pytest.mark.parametrize("statement", WRONG.values(), ids=WRONG)
def test_what_forgot_a_condition_does_not_run(db: Database, statement: Any) -> None:
    with pytest.raises(OutOfReach):
        run(db, statement)


CHANGES: dict[str, tuple[Any, ...]] = {
    "delete without a workspace": (delete(documents).where(D.id == "theirs-one"),),
    "delete of another's": (delete(documents).where(D.workspace == "theirs"),),
    "delete everything": (delete(documents),),
    "update without a workspace": (
        update(documents).where(D.id == "theirs-one").values(body="{}"),
    ),
    "update of another's": (update(documents).where(D.workspace == "theirs").values(body="{}"),),
    "giving away": (update(documents).where(OWN).values(workspace="theirs"),),
    "giving away by name": (update(documents).where(OWN).values({"workspace": U.id}),),
    "reading another table": (
        update(documents).where(OWN, U.id == "x").values(body=U.email),
    ),
    "inserting into another's": (insert(documents).values(row("theirs", "new")),),
    "one of many": (insert(documents), [row("mine", "new"), row("theirs", "new")]),
    "many in one": (insert(documents).values([row("mine", "new"), row("theirs", "new")]),),
    "from a query": (
        insert(memberships).from_select(["workspace", "user_id"], select(W.name, U.id)),
    ),
    "as text": (text("DELETE FROM documents"),),
}  # fmt: skip


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
def test_what_would_change_another_tenants_rows_does_not_run(
    db: Database, statement: tuple[Any, ...]
) -> None:
    before = stored(db)
    with pytest.raises(OutOfReach):
        change(db, *statement)
    assert stored(db) == before


def test_own_rows_can_be_changed(db: Database) -> None:
    assert change(db, insert(documents).values(row("mine", "new"))) == 1
    assert change(db, insert(documents), [row("mine", "a"), row("second", "b")]) == 2
    itself = (OWN, D.id == "mine-one")
    assert change(db, update(documents).where(*itself).values(row("mine") | {"name": "x"})) == 1
    assert change(db, delete(documents).where(OWN, D.name == "new")) == 1


def test_a_statement_is_checked_each_time_it_runs(db: Database) -> None:
    prepared = select(D.id).where(D.workspace == bindparam("workspace"))
    assert run(db, prepared, {"workspace": "mine"}) == [("mine-one",)]
    for _ in range(2):
        with pytest.raises(OutOfReach):
            run(db, prepared, {"workspace": "theirs"})
    assert run(db, prepared, {"workspace": "second"}) == [("second-one",)]
    for names in (["mine"], ["mine", "second"], ["second", "theirs"]):
        wanted = select(D.id).where(D.workspace.in_(names))
        if "theirs" in names:
            with pytest.raises(OutOfReach):
                run(db, wanted)
        else:
            assert len(run(db, wanted)) == len(names)


def test_the_reach_travels_with_what_is_queued_and_ends_with_it(db: Database) -> None:
    everything = select(func.count()).select_from(documents)

    def count(conn: Any) -> int:
        return int(conn.execute(everything).scalar_one())

    async def work() -> None:
        with within(ME):
            refused = asyncio.ensure_future(db.write(count))
            with pytest.raises(OutOfReach):
                await db.read_in_thread(count)
            with unbounded("a test"):
                assert await db.write(count) == 3
                assert await db.read_in_thread(count) == 3
            with pytest.raises(OutOfReach):
                await refused
            assert current.get() is ME
        allowed = await asyncio.gather(*(db.write(count) for _ in range(3)))
        assert allowed == [3, 3, 3]

    asyncio.run(work())


def test_a_refused_write_leaves_its_neighbours_alone(db: Database) -> None:
    async def work() -> list[Any]:
        def save(workspace: str) -> Callable[[Any], Any]:
            return lambda conn: conn.execute(insert(documents).values(row(workspace, "n"))).rowcount

        with within(ME):
            writes = [db.write(save(name)) for name in ("mine", "theirs", "second")]
            return await asyncio.gather(*writes, return_exceptions=True)

    one, refused, other = asyncio.run(work())
    assert (one, other) == (1, 1)
    assert isinstance(refused, OutOfReach)
    assert ("theirs-n", "theirs") not in stored(db)
