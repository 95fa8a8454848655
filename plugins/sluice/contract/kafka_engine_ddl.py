"""ClickHouse's own streaming path, generated from the same contract, for rows within seconds.

A Kafka engine table reads the topic, and a materialized view writes one row per list item to the
final table. This path has neither pinned ranges nor accounting; see ``docs/contracts.md``.
"""

from msgspec import inspect as mi

from sluice.contract.columns import columns_of
from sluice.contract.definition import Contract
from sluice.contract.inspection import unwrap
from sluice.contract.type_map import column_type_of, staged_type
from sluice.errors import ContractError
from sluice.sql import quote_identifier, quote_string


class KafkaTableSchema:
    """Generates the three statements of a contract's streaming path.

    Args:
        contract: a contract whose message has a list of Structs; its items become rows.
        brokers: ``host:port``, separated by commas.
        group: consumer group of the Kafka engine; must differ from that of the loads.
        items: name of the list; may be omitted if the message has only one.

    Raises:
        ContractError: the message has no such list, or several and ``items`` is None.
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
        """The Kafka engine table: the message's fields as JSONEachRow reads them."""
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
        assignments = ",\n    ".join(f"{name} = {value}" for name, value in settings.items())
        return (
            f"CREATE TABLE IF NOT EXISTS {quote_identifier(self.source)}\n(\n    {columns}\n)\n"
            f"ENGINE = Kafka\nSETTINGS\n    {assignments}\n"
        )

    def create_final(self) -> str:
        """The table that the view fills: one row per list item."""
        columns = ",\n    ".join(
            f"{quote_identifier(n)} {t}" for n, (t, _) in self._final_columns().items()
        )
        return (
            f"CREATE TABLE IF NOT EXISTS {quote_identifier(self.final)}\n(\n    {columns}\n)\n"
            f"ENGINE = MergeTree\nORDER BY ({', '.join(self.contract.table.order_by)})\n"
            "SETTINGS index_granularity = 8192\n"
        )

    def create_view(self) -> str:
        """The materialized view from the Kafka engine table to the final table."""
        view, final = quote_identifier(self.view), quote_identifier(self.final)
        return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view} TO {final} AS\n{self.select()}\n"

    def select(self, source: str = "") -> str:
        """The view's query.

        Args:
            source: a table to read in place of the Kafka engine table.
        """
        columns = self._final_columns().items()
        selected = ",\n    ".join(f"{sql} AS {quote_identifier(n)}" for n, (_, sql) in columns)
        items, table = quote_identifier(self.items), source or quote_identifier(self.source)
        return (
            f"SELECT\n    {selected}\nFROM\n(\n"
            f"    SELECT *, arrayJoin({items}) AS item\n    FROM {table}\n)"
        )

    def statements(self) -> list[str]:
        """All statements, in the order in which they must be run."""
        return [self.create_final(), self.create_source(), self.create_view()]

    def _final_columns(self) -> dict[str, tuple[str, str]]:
        """Column → its type, and its SQL over a message joined with one of its items."""
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
        """Field that is a list of Structs → the Struct."""
        info = mi.type_info(self.contract.message)
        assert isinstance(info, mi.StructType)
        lists = {}
        for field in info.fields:
            inner, _, _ = unwrap(field.type)
            if isinstance(inner, mi.ListType):
                item, _, _ = unwrap(inner.item_type)
                if isinstance(item, mi.StructType):
                    lists[field.encode_name] = item
        return lists

    def _only_list(self) -> str:
        lists = self._lists()
        if len(lists) != 1:
            raise ContractError(
                "the streaming path writes one row per item of a list of Structs, but the message"
                f" has {len(lists)} such lists; name one with items=",
                topic=self.contract.topic,
            )
        return next(iter(lists))

    def _item_struct(self) -> mi.StructType:
        lists = self._lists()
        if self.items not in lists:
            known = ", ".join(lists) or "none"
            raise ContractError(
                f"the field is not a list of Structs (known lists: {known})",
                topic=self.contract.topic,
                field=self.items,
            )
        return lists[self.items]
