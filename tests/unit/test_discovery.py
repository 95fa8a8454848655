"""One topic's trouble is its own: each contract is imported alone."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.contract.discovery import broken_contracts, discover, find, raise_broken
from sluice.errors import ContractError

CONTRACT = '''
from datetime import date
from msgspec import Struct
from sluice.contract import Breaker, Contract, Rule, Table, Version

class Thing(Struct, frozen=True):
    """A thing.

    Attributes:
        name: its name.
    """

    name: str

contract = Contract(
    topic="{topic}", subject="{topic}-value", message=Thing, key="name", owner="{owner}",
    versions=(Version(name="1.0", released=date(2026, 1, 1)),),
    table=Table(name="{table}", order_by=("name",)), {more}
)
'''


def source(topic: str, table: str = "", owner: str = "team", more: str = "") -> str:
    return CONTRACT.format(topic=topic, table=table or topic, owner=owner, more=more)


BROKEN = {
    "a syntax error": "contract = (",
    "an import that does not exist": "import nowhere_at_all",
    "an exit": "raise SystemExit(3)",
    "a schedule": source("bad", more='schedule="61 * * * *"'),
    "a long owner": source("bad", owner="x" * 101),
    "no owner": source("bad", owner=""),
    "a share over 1": source("bad", more="breaker=Breaker(max_refused_share=20)"),
    "a share that is no number": source(
        "bad", more="breaker=Breaker(max_refused_share=float('nan'))"
    ),
    "a negative count": source("bad", more="breaker=Breaker(min_refused=-1)"),
    "a severity": source("bad", more='rules=(Rule(name="a", fails_when="1", severity="fatal"),)'),
    "a rule without a name": source("bad", more='rules=(Rule(name=" ", fails_when="1"),)'),
    "what to do with expired offsets": source("bad", more='on_expired="ignore"'),
    "a load of nothing": source("bad", more="max_offsets=0"),
    "the topic of another": source("good", table="elsewhere"),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable package of contracts with two good ones."""
    folder = tmp_path / "their_contracts"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "fine.py").write_text(source("fine.topic"))
    (folder / "well.py").write_text(source("well"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("their_contracts")]:
        del sys.modules[name]


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_contract_costs_no_other_topic(package: Path, what: str) -> None:
    (package / "bad.py").write_text(BROKEN[what])
    if what == "the topic of another":
        (package / "bad_too.py").write_text(source("good"))
    assert list(discover("their_contracts")) == ["fine.topic", "well"]
    assert find("fine.topic", "their_contracts").topic == "fine.topic"
    assert "their_contracts.bad" in broken_contracts("their_contracts")
    with pytest.raises(ContractError) as raised:
        raise_broken("their_contracts")
    assert "their_contracts.bad" in raised.value.detail


def test_finding_a_topic_imports_the_module_of_its_name_only(package: Path) -> None:
    (package / "bad.py").write_text("raise RuntimeError('imported')")
    assert find("well", "their_contracts").topic == "well"
    assert "their_contracts.fine" not in sys.modules


def test_an_unknown_topic_is_told_with_the_modules_that_cannot_be_used(package: Path) -> None:
    (package / "bad.py").write_text("contract = (")
    with pytest.raises(ContractError) as raised:
        find("gone", "their_contracts")
    assert raised.value.topic == "gone"
    assert "fine.topic, well" in raised.value.detail
    assert "their_contracts.bad cannot be used: SyntaxError" in raised.value.detail


def test_two_contracts_of_one_table_are_both_left_out(package: Path) -> None:
    (package / "one.py").write_text(source("one", table="same"))
    (package / "two.py").write_text(source("two", table="same"))
    assert list(discover("their_contracts")) == ["fine.topic", "well"]
    assert list(broken_contracts("their_contracts")) == [
        "their_contracts.one",
        "their_contracts.two",
    ]


def test_nothing_is_raised_when_all_contracts_can_be_used(package: Path) -> None:
    raise_broken("their_contracts")
