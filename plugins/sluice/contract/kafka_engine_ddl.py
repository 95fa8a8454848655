"""ClickHouse's own streaming path, made from the same contract: for who wants rows in seconds.

A table of the Kafka engine reads the topic, and a materialized view puts one row a line item into
the final table. This path has neither pinned ranges nor an account; see ``docs/contracts.md``.
"""

from msgspec import inspect as mi

from sluice.contract.columns import columns_of
from sluice.contract.contract import Contract
from sluice.contract.type_map import column_type_of, staged_type, unwrap
from sluice.errors import ContractError
from sluice.sql import quote_identifier, quote_string


class KafkaTableSchema:
    """The three statements of the streaming path of a contract.

    Args:
        contract: a contract with one list of Structs, whose items become rows.
        brokers: ``host:port``, several with commas between.
        group: consumer group of the Kafka engine; not the one of the loads.
        items: name of the list; found by itself when there is one.
    """

    def __init__(
        self, contract: Contract, brokers: str, group: str = "", items: str | None = None
    ) -> None:
        self.contract, self.brokers = contract, brokers
        self.group = group or f"clickhouse-{contract.topic}"
        self.items = items or self._only_list()
        name = contract.table.name
        self.source, self.view, self.final = f"{name}_kafka", f"{name}_mv", f"{name}_final"

    def create_source(self) -> str:
        """The Kafka engine table: the message's fields, as JSONEachRow brings them."""
        staged = staged_type(self.contract.message)
        columns = ",\n    ".join(
            f"{quote_identifier(name)} {type_}"
            for name, type_ in zip(staged.names, staged.types, strict=True)
        )
        settings = {
            "kafka_broker_list": quote_string(self.brokers),
            "kafka_topic_list": quote_string(self.contract.topic),
            "kafka_group_name": quote_string(self.group),
            "kafka_format": "'JSONEachRow'",
        }
        shown = ",\n    ".join(f"{name} = {value}" for name, value in settings.items())
        return (
            f"CREATE TABLE IF NOT EXISTS {quote_identifier(self.source)}\n(\n    {columns}\n)\n"
            f"ENGINE = Kafka\nSETTINGS\n    {shown}\n"
        )

    def create_final(self) -> str:
        """The table that the view fills: one row a line item."""
        columns = ",\n    ".join(
            f"{quote_identifier(n)} {t}" for n, (t, _) in self._final_columns().items()
        )
        return (
            f"CREATE TABLE IF NOT EXISTS {quote_identifier(self.final)}\n(\n    {columns}\n)\n"
            f"ENGINE = MergeTree\nORDER BY ({', '.join(self.contract.table.order_by)})\n"
            "SETTINGS index_granularity = 8192\n"
        )

    def create_view(self) -> str:
        """The materialized view between them."""
        return (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {quote_identifier(self.view)} TO {quote_identifier(self.final)}"
            f" AS\n{self.select()}\n"
        )

    def select(self, source: str = "") -> str:
        """The view's query; ``source`` stands in for the Kafka table in tests."""
        columns = self._final_columns().items()
        shown = ",\n    ".join(f"{sql} AS {quote_identifier(name)}" for name, (_, sql) in columns)
        return (
            f"SELECT\n    {shown}\nFROM\n(\n    SELECT *, arrayJoin({quote_identifier(self.items)}) AS item\n"
            f"    FROM {source or quote_identifier(self.source)}\n)"
        )

    def statements(self) -> list[str]:
        """All of them, in the order in which they can be run."""
        return [self.create_final(), self.create_source(), self.create_view()]

    def _final_columns(self) -> dict[str, tuple[str, str]]:
        """Column → its type, and SQL over a message joined with one of its items."""
        columns: dict[str, tuple[str, str]] = {}
        for column in columns_of(self.contract.message):
            if column.path[0] != self.items:
                path = ".".join(map(quote_identifier, column.path))
                columns[column.name] = (str(column.type.stored), column.type.select(path))
        for field in self._item_struct().fields:
            type_ = column_type_of(field.type, (self.items, field.encode_name))
            element = type_.select(f"tupleElement(item, {quote_string(field.encode_name)})")
            name = field.encode_name
            columns[f"{self.items}_{name}" if name in columns else name] = (
                str(type_.stored),
                element,
            )
        return columns

    def _lists(self) -> dict[str, mi.StructType]:
        """Fields that are lists of Structs, with the Struct."""
        info = mi.type_info(self.contract.message)
        assert isinstance(info, mi.StructType)
        found = {}
        for field in info.fields:
            inner, _, _ = unwrap(field.type)
            if isinstance(inner, mi.ListType):
                item, _, _ = unwrap(inner.item_type)
                if isinstance(item, mi.StructType):
                    found[field.encode_name] = item
        return found

    def _only_list(self) -> str:
        lists = self._lists()
        if len(lists) != 1:
            raise ContractError(
                f"topic {self.contract.topic!r}: the streaming path makes one row an item of a list"
                f" of Structs, and the message has {len(lists)} of them; name one with items="
            )
        return next(iter(lists))

    def _item_struct(self) -> mi.StructType:
        lists = self._lists()
        if self.items not in lists:
            known = ", ".join(lists) or "none"
            raise ContractError(f"{self.items!r} is not a list of Structs (known: {known})")
        return lists[self.items]
