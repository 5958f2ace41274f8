"""What we serve against the contract: 159 operations of its document, 176 of the newest SDK."""

from pathlib import Path

from contract.parity import allowances, compare
from contract.specs import Json, contract, routes, sdk_operations

ALLOWED = Path(__file__).with_name("allowed.toml")


def test_the_contract_is_read_in_full(specs: Path) -> None:
    assert len(routes(contract(specs))) == 159
    assert len(sdk_operations(specs)) == 176


def test_nothing_differs_but_what_is_allowed(specs: Path, ours: Json) -> None:
    allowed = allowances(ALLOWED)
    found = compare(contract(specs), sdk_operations(specs), ours)
    differing = [str(one) for one in found if not any(rule.covers(one) for rule in allowed)]
    assert not differing, f"{len(differing)} differences:\n" + "\n".join(differing)


def test_every_allowance_is_explained_and_needed(specs: Path, ours: Json) -> None:
    found = compare(contract(specs), sdk_operations(specs), ours)
    for rule in allowances(ALLOWED):
        assert len(rule.why) > 20, f"{rule}: say why"
        assert any(rule.covers(one) for one in found), f"{rule}: nothing differs here any more"
