"""Loading sample messages with a new contract through a real ClickHouse, in scratch tables."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

import msgspec
from msgspec import Struct

from sluice.authoring.examples import example_message
from sluice.authoring.new_topic.stored_values import changed_columns
from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.contract.type_map import message_type
from sluice.drain.batch_builder import ENCODER
from sluice.drain.row_insert import COLUMNS
from sluice.errors import ContractError, EngineError, SettingsError
from sluice.settings import Connection
from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse, connect
from sluice.store.engine_errors import TRANSIENT

MOST_MESSAGES = 100
"""Sampled messages that are tried."""

_SECONDS = 5
"""How long a server may take to respond, and how long transient errors are retried."""

_ACCESS_DENIED = 497
_NO_FAULT_OF_A_CONTRACT = {
    *TRANSIENT,
    60,  # UNKNOWN_TABLE
    81,  # UNKNOWN_DATABASE
    164,  # READONLY
    243,  # NOT_ENOUGH_SPACE
    _ACCESS_DENIED,
}
"""Errors in creating the tables whose cause is the server, the user or another process."""

_INSERT_SETTINGS = {"async_insert": 0}


class _Scratch(NamedTuple):
    """The qualified names of the scratch tables."""

    staging: str
    target: str


def engine_notes(
    contract: Contract, messages: Sequence[Struct], connection: Connection, database: str
) -> list[str]:
    """What became of sample messages that were staged, loaded and read back.

    A server that cannot be reached or refuses the scratch tables is a note, not an error. The
    tables are dropped at the end, whatever happens.

    Args:
        messages: decoded messages; if there are none, one is generated.
        connection: the Airflow connection of ClickHouse.
        database: Sluice's own database, used if no temporary one can be created.

    Raises:
        ContractError: ClickHouse refuses the contract's table.
    """
    if not messages:
        try:
            messages = [example_message(contract, Random(0))]
        except ContractError as error:
            return [f"the contract was not tried on ClickHouse: {error}"]
    try:
        quick = msgspec.structs.replace(
            connection, extra={"connect_timeout": _SECONDS, **connection.extra}
        )
        clickhouse = connect(quick, _SECONDS)
    except (EngineError, SettingsError) as error:
        return [f"the contract was not tried on ClickHouse, which cannot be used: {error}"]
    try:
        with _scratch_tables(contract, clickhouse, database) as tables:
            return _try(contract, clickhouse, tables, messages[:MOST_MESSAGES])
    except ContractError:
        raise
    except Exception as error:  # also whatever the client raises while it reads the rows
        return [f"the contract could not be tried on ClickHouse: {error}"]
    finally:
        clickhouse.client.close()


@contextmanager
def _scratch_tables(
    contract: Contract, clickhouse: ClickHouse, database: str
) -> Iterator[_Scratch]:
    name = f"sluice_trial_{uuid.uuid4().hex}"
    own = quote_identifier(name)
    try:
        clickhouse.execute(f"CREATE DATABASE {own}")
    except EngineError as error:
        if error.code != _ACCESS_DENIED:
            raise
        prefix = f"{quote_identifier(database)}.{quote_identifier(name + '_%s')}"
        tables = _Scratch(prefix % "staging", prefix % "target")
    else:
        prefix = ""
        tables = _Scratch(f"{own}.`staging`", f"{own}.`target`")
    try:
        _create(contract, clickhouse, tables)
        yield tables
    finally:
        drops = [f"DROP TABLE IF EXISTS {t}" for t in tables] if prefix else []
        for statement in drops or [f"DROP DATABASE IF EXISTS {own}"]:
            clickhouse.execute(statement)


def _create(contract: Contract, clickhouse: ClickHouse, tables: _Scratch) -> None:
    mapper = ClickHouseSchemaMapper.of(contract)
    try:
        clickhouse.execute(mapper.create_table(tables.target))
        clickhouse.execute(mapper.create_staging(tables.staging))
    except EngineError as error:
        if error.code in _NO_FAULT_OF_A_CONTRACT or not error.code:
            raise
        text = f"ClickHouse refuses its table (error {error.code}): {error.detail}"
        raise ContractError(text, topic=contract.topic) from error


def _try(
    contract: Contract, clickhouse: ClickHouse, tables: _Scratch, messages: Sequence[Struct]
) -> list[str]:
    """Stage the messages, load those that are not refused, and compare what was stored."""
    refused: list[EngineError] = []
    for offset, message in enumerate(messages):
        try:
            _stage(contract, clickhouse, tables, offset, message)
        except EngineError as error:
            if error.transient or not error.code:
                raise
            refused.append(error)
    selected = ClickHouseSchemaMapper.of(contract).published_columns()
    names = ", ".join(map(quote_identifier, selected))
    notes: list[str] = []
    if refused:
        notes.append(
            f"ClickHouse refuses {len(refused):,} of {len(messages):,} messages (error"
            f" {refused[0].code}): {refused[0].detail.splitlines()[0][:300]}"
        )
    try:
        clickhouse.execute(
            f"INSERT INTO {tables.target} ({names})"
            f" SELECT {', '.join(selected.values())} FROM {tables.staging}",
            {"topic": contract.topic, "load": "trial"},
            _INSERT_SETTINGS,
        )
    except EngineError as error:
        if error.transient or not error.code:
            raise
        return [*notes, f"ClickHouse cannot load its messages (error {error.code}): {error.detail}"]
    rows = clickhouse.rows(f"SELECT * FROM {tables.target} ORDER BY _offset")
    notes += _compare(contract, messages, {row["_offset"]: row for row in rows})
    sent = f"{len(messages):,} message{'s' if len(messages) > 1 else ''}"
    return notes or [f"ClickHouse loaded and returned {sent} unchanged"]


def _stage(
    contract: Contract, clickhouse: ClickHouse, tables: _Scratch, offset: int, message: Struct
) -> None:
    form = message_type(contract.message).form
    staged = form(message) if form else message
    values = (0, "trial", 0, offset, 0, contract.version.name, "", "", "", staged)
    body = ENCODER.encode_lines([values])
    token = uuid.uuid4().hex
    clickhouse.insert_lines(tables.staging, COLUMNS, body, "JSONCompactEachRow", token)


def _compare(
    contract: Contract, messages: Sequence[Struct], rows: dict[int, dict[str, object]]
) -> list[str]:
    changed: dict[str, str] = {}
    for offset, row in rows.items():
        for column, text in changed_columns(contract, messages[offset], row).items():
            changed.setdefault(column, text)
    return [
        f"ClickHouse changes values of column {name!r}: {text}" for name, text in changed.items()
    ]
