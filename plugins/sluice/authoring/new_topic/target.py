"""Where a new contract is written, and whether the names are free."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from sluice.authoring.new_topic.naming import check_module_name, check_table_name, module_name
from sluice.contract import Contract, discover
from sluice.contract.discovery import contracts_folder
from sluice.errors import ContractError


class Target(Struct, frozen=True):
    """The file of a contract, and the name of its table."""

    path: Path
    table: str


class Claims(Struct, frozen=True):
    """The topics and tables that the text of a contract file names.

    Attributes:
        unclear: whether the file has a contract whose topic is not in its text.
    """

    topics: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    unclear: bool = False


def choose_target(topic: str, folder: Path, module: str = "", table: str = "") -> Target:
    """The file and the table of a topic's contract.

    Args:
        module, table: chosen names; a module's name is also the default of the table's.

    Raises:
        ContractError: a name is not valid.
    """
    default = module_name(topic)
    if module:
        check_module_name(module)
    if table:
        check_table_name(table)
    return Target(folder / f"{module or default}.py", table or module or default)


def check_unused(topic: str, target: Target, force: bool) -> list[str]:
    """Refuse names that another topic's contract has, and a topic that has one elsewhere.

    Returns:
        What could not be checked, one sentence each.

    Raises:
        ContractError: with the option that chooses another name. ``force`` only allows
            overwriting the contract of the same topic.
    """
    own = _check_file(topic, target.path, force)
    if target.path.parent.resolve() != contracts_folder().resolve():
        _check_folder(topic, target, {})
        return []
    try:
        contracts = discover()
    except Exception as error:  # the import of a contract's module can raise anything
        _check_folder(topic, target, {})
        text = "the existing contracts cannot be imported, so names were compared with their text"
        return [f"{text}: {error}"]
    _check_folder(topic, target, contracts)
    for other in contracts.values():
        place = other.message.__module__
        if other.topic == topic and not own:
            raise ContractError(f"{place} is already its contract", topic=topic)
        if other.topic != topic and other.table.name == target.table:
            raise _taken_table(target.table, other.topic, place)
    return []


def _check_file(topic: str, path: Path, force: bool) -> bool:
    """Whether the path is the file of this topic's contract, which may be overwritten."""
    same_name = [
        other
        for other in sorted(path.parent.glob("*.py"))
        if other.name != path.name and other.stem.casefold() == path.stem.casefold()
    ]
    if same_name:
        raise ContractError(
            f"{path} and {same_name[0].name} are one file where names ignore case; choose another"
            " name with --module",
            topic=topic,
        )
    if not path.exists():
        return False
    claims = claims_of(path)
    if others := sorted(claims.topics - {topic}):
        raise ContractError(
            f"{path} is the contract of topic {others[0]!r}; choose another name with --module,"
            " which also names the table, or --module and --table",
            topic=topic,
        )
    if claims.unclear:
        raise ContractError(
            f"{path} exists, and its text does not show the topic of its contract; remove it, or"
            " choose another name with --module",
            topic=topic,
        )
    if not force:
        raise ContractError(f"{path} already exists; --force overwrites it", topic=topic)
    return topic in claims.topics


def _check_folder(topic: str, target: Target, contracts: Mapping[str, Contract]) -> None:
    """Compare the names with the texts of the folder's files."""
    for path in sorted(target.path.parent.glob("*.py")):
        claims = claims_of(path)
        if path == target.path or claims.topics & contracts.keys():
            continue
        if topic in claims.topics:
            raise ContractError(f"{path} is already its contract", topic=topic)
        if target.table in claims.tables and claims.topics:
            raise _taken_table(target.table, min(claims.topics), str(path))


def _taken_table(table: str, topic: str, place: str) -> ContractError:
    return ContractError(
        f"table {table!r} is the one of topic {topic!r} ({place}); choose another name with --table"
    )


def claims_of(path: Path) -> Claims:
    """The topics and tables that a file gives to ``Contract``, ``Table`` and ``replace``."""
    text = path.read_text(errors="replace")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return Claims(unclear="Contract" in text)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    topics: set[str] = set()
    tables: set[str] = set()
    unclear = False
    for call, keyword, value in _arguments(tree):
        constant = value.value if isinstance(value, ast.Constant) else None
        if isinstance(value, ast.Name):
            constant = constants.get(value.id)
        if call in ("Contract", "replace") and keyword == "topic":
            unclear = unclear or not isinstance(constant, str)
            topics.update({constant} if isinstance(constant, str) else ())
        elif call == "Table" and keyword == "name" and isinstance(constant, str):
            tables.add(constant)
    return Claims(frozenset(topics), frozenset(tables), unclear)


def _arguments(tree: ast.AST) -> Iterator[tuple[str, str, ast.expr]]:
    """The keyword arguments of all calls: the function's name, the keyword and the value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            name = function.id if isinstance(function, ast.Name) else name
            for keyword in node.keywords:
                yield name, keyword.arg or "", keyword.value
