"""The target table of a contract, and the SQL that inserts a load's missing rows into it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sluice.contract import Contract
from sluice.contract.columns import STAGED
from sluice.contract.ddl import LINEAGE, ClickHouseSchemaMapper
from sluice.errors import ShapeChanged
from sluice.ranges import OffsetRange
from sluice.sql import offset_condition, quote_identifier, quote_string
from sluice.store.clickhouse import ClickHouse
from sluice.store.column_renames import staged_column
from sluice.store.staging import StagedRows

CLUSTER_SETTINGS: Mapping[str, Any] = {
    "distributed_foreground_insert": 1,
    "insert_quorum": "auto",
    "insert_quorum_parallel": 0,
    "select_sequential_consistency": 1,
}
"""In a cluster an insert completes when a quorum of replicas has it, and reads return all rows of
completed inserts."""


class TargetTable:
    """Generates the SQL between a load's staged rows and the table of its contract.

    A row is missing if its offset is not in the target table. In a replacing table it is missing
    only if no newer row of its key is there either, because the row may have been merged away.

    Which of two rows of a key is newer is a total order: the one with the higher version; of equal
    versions, the one with the higher partition, then the higher offset. Of rows with equal versions
    ClickHouse keeps the one that was inserted last. Rows are therefore inserted in that order: no
    row after a newer one of its key (:meth:`missing_rows`), and the rows of one insert sorted
    (:attr:`order`). Inserts into a replacing table must not overlap in time.
    """

    def __init__(self, contract: Contract, clickhouse: ClickHouse, cluster: str = "") -> None:
        self._contract, self._clickhouse = contract, clickhouse
        self._mapper = ClickHouseSchemaMapper.of(contract, cluster)
        self.name = clickhouse.qualified(contract.table.name)
        self.settings = dict(CLUSTER_SETTINGS) if cluster else {}

    @property
    def replaces(self) -> bool:
        """Whether the table keeps only the newest row of each key."""
        return bool(self._contract.table.replaces)

    @property
    def order(self) -> str:
        """``ORDER BY …`` of an insert: later rows replace earlier ones with the same version."""
        return " ORDER BY _partition, _offset" if self.replaces else ""

    def missing_rows(
        self, source: StagedRows, ranges: Sequence[OffsetRange], replaces: bool = False
    ) -> str:
        """``FROM … WHERE …``: staged rows of an attempt that the target table does not have.

        Parameters of the query: ``topic``, ``attempt``, ``load``.

        Args:
            source: the load's staged rows.
            ranges: only rows of these offsets.
            replaces: whether the load replaces rows, so that only its own rows in the target
                table count as present.
        """
        where = offset_condition(ranges)
        staged = f"{source.condition} AND _attempt = {{attempt:String}} AND ({where})"
        own = " AND _load_id = {load:String}" if replaces else ""
        absent = (
            f"(_partition, _offset) NOT IN (SELECT _partition, _offset FROM {self.name}"
            f" WHERE _topic = {{topic:String}} AND ({where}){own})"
        )
        if not self.replaces:
            return f"FROM {source.table} WHERE {staged} AND {absent}"
        return self._newest_missing_rows(source.table, staged, absent)

    def _newest_missing_rows(self, source: str, staged: str, absent: str) -> str:
        """The same for a replacing table: only rows that are newer than those of their key."""
        table, selected = self._contract.table, self._mapper.published_columns()
        # As they will be stored: what the target has is compared with these.
        selected |= {
            c.name: f"CAST({c.source}, {quote_string(str(c.type.stored.plain))})"
            for c in self._mapper.columns
            if c.name in (*table.order_by, table.replaces)
        }
        keys = [selected[key] for key in table.order_by]
        mark = "_"
        while any(name.startswith(mark) for name in self.content_columns()):
            mark += "_"  # an alias takes precedence over a column of its name
        names = [f"`{mark}key_{number}`" for number in range(len(keys))]
        key_columns = ", ".join(map(quote_identifier, table.order_by))
        renamed = ", ".join(
            f"{quote_identifier(key)} AS {name}"
            for key, name in zip(table.order_by, names, strict=True)
        )
        version = quote_identifier(table.replaces)
        newest = (
            f"SELECT {renamed}, 1 AS `{mark}any`,"
            f" max(({version}, toString(_topic), _partition, _offset)) AS `{mark}newest`"
            f" FROM {self.name}"
            f" WHERE ({key_columns}) IN (SELECT {', '.join(keys)} FROM {source} WHERE {staged})"
            f" GROUP BY {key_columns}"
        )
        same = " AND ".join(f"{key} = newest.{name}" for key, name in zip(keys, names, strict=True))
        rank = f"({selected[table.replaces]}, {{topic:String}}, _partition, _offset)"
        return (
            f"FROM {source} LEFT JOIN ({newest}) AS newest ON {same} WHERE {staged} AND {absent}"
            f" AND (isNull(newest.`{mark}any`) OR {rank} > newest.`{mark}newest`)"
        )

    def content_columns(self) -> list[str]:
        """Names of the contract's own columns, without the lineage columns."""
        return [name for name in self._mapper.published_columns() if name not in LINEAGE]

    def count(self, ranges: Sequence[OffsetRange], load_id: str = "") -> list[dict[str, Any]]:
        """Counts of the rows in some ranges: ``partition``, ``rows`` and distinct ``offsets``.

        Args:
            load_id: only rows of this load; all rows if empty.
        """
        where = offset_condition(ranges)
        own = " AND _load_id = {load:String}" if load_id else ""
        return self._clickhouse.rows(
            "SELECT _partition AS partition, count() AS rows, uniqExact(_offset) AS offsets"
            f" FROM {self.name} WHERE _topic = {{topic:String}} AND ({where}){own}"
            " GROUP BY _partition",
            {"topic": self._contract.topic, "load": load_id},
            self.settings,
        )

    def columns(self, source: str, shape: str) -> dict[str, str]:
        """Target column → its SQL over a staged row, for the columns that staged rows can fill.

        Rows staged under an older contract lack newer fields. Those columns get their defaults,
        which equal the values that older messages get when they are read. Fields that were renamed
        since have their older names.

        Args:
            source: the load's staging table.
            shape: digest of the type that the rows were staged as.

        Raises:
            ShapeChanged: the rows were staged under a newer contract, and a field of theirs has
                no column here and would be lost; ``field`` names one.
        """
        columns = self._mapper.published_columns()
        if shape == self._mapper.shape:
            return columns
        described = self._clickhouse.rows(
            f"DESCRIBE TABLE {source} SETTINGS describe_include_subcolumns = 1"
        )
        staged = {row["name"] for row in described if row["name"].startswith(f"{STAGED}.")}
        fields = {name.removeprefix(f"{STAGED}.") for name in staged}
        stored = [staged_column(self._contract, c, fields) for c in self._mapper.columns]
        paths = {c.name: ".".join((STAGED, *c.staged_path)) for c in stored}
        unknown = {name for name in staged if not _related(name, paths.values())}
        if unknown:
            raise ShapeChanged(
                "rows were staged under a newer contract, with fields that this one does not have:"
                f" {', '.join(sorted(unknown))}; publish them with the contract that staged them",
                topic=self._contract.topic,
                field=min(unknown).removeprefix(f"{STAGED}."),
            )
        columns |= {c.name: c.source for c in stored}
        return {n: sql for n, sql in columns.items() if n not in paths or paths[n] in staged}


def _related(name: str, paths: Collection[str]) -> bool:
    """Whether a subcolumn equals one of the paths, contains one or is contained in one."""
    return any(
        name == path or name.startswith(f"{path}.") or path.startswith(f"{name}.") for path in paths
    )
