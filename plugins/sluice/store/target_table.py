"""The target table as seen from a load's staged rows: the SQL that makes missing rows visible."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sluice.contract import Contract
from sluice.contract.columns import STAGED
from sluice.contract.ddl import LINEAGE, ClickHouseSchemaMapper
from sluice.errors import ShapeChanged
from sluice.ranges import OffsetRange
from sluice.sql import offset_condition, quote_identifier
from sluice.store.clickhouse import ClickHouse

CLUSTERED: Mapping[str, Any] = {
    "distributed_foreground_insert": 1,
    "insert_quorum": "auto",
    "insert_quorum_parallel": 0,
    "select_sequential_consistency": 1,
}
"""In a cluster an insert is over when the replicas have it, and reads see all that is over."""


class TargetTable:
    """SQL between a load's publishing table and the table of its contract.

    A row is missing when its offset is not in the target; in a replacing table, only when no newer
    row of its key is there either, because then it may have been merged away.
    """

    def __init__(self, contract: Contract, clickhouse: ClickHouse, cluster: str = "") -> None:
        self._contract, self._clickhouse = contract, clickhouse
        self._mapper = ClickHouseSchemaMapper.of(contract, cluster)
        self.name = clickhouse.qualified(contract.table.name)
        self.settings = dict(CLUSTERED) if cluster else {}

    @property
    def replaces(self) -> bool:
        """Whether rows of one key replace each other."""
        return bool(self._contract.table.replaces)

    def missing_rows(
        self, source: str, ranges: Sequence[OffsetRange], replaces: bool = False
    ) -> str:
        """``FROM … WHERE …``: staged rows of an attempt that the target does not have.

        Parameters of the query: ``topic``, ``attempt``, ``load``.

        Args:
            replaces: whether the rows take the place of others, so that only those of this load
                count as being there.
        """
        where = offset_condition(ranges)
        mine = f"_attempt = {{attempt:String}} AND ({where})"
        own = " AND _load_id = {load:String}" if replaces else ""
        absent = (
            f"(_partition, _offset) NOT IN (SELECT _partition, _offset FROM {self.name}"
            f" WHERE _topic = {{topic:String}} AND ({where}){own})"
        )
        if not self.replaces:
            return f"FROM {source} WHERE {mine} AND {absent}"
        table, selected = self._contract.table, self._mapper.published_columns()
        keys = [selected[key] for key in table.order_by]
        names = [f"`_key_{number}`" for number in range(len(keys))]
        listed = ", ".join(map(quote_identifier, table.order_by))
        renamed = ", ".join(
            f"{quote_identifier(key)} AS {name}"
            for key, name in zip(table.order_by, names, strict=True)
        )
        newest = (
            f"SELECT {renamed}, max({quote_identifier(table.replaces)}) AS `_newest` FROM {self.name}"
            f" WHERE ({listed}) IN (SELECT {', '.join(keys)} FROM {source} WHERE {mine})"
            f" GROUP BY {listed}"
        )
        same = " AND ".join(f"{key} = newest.{name}" for key, name in zip(keys, names, strict=True))
        return (
            f"FROM {source} LEFT JOIN ({newest}) AS newest ON {same} WHERE {mine} AND {absent}"
            f" AND (isNull(newest._newest) OR {selected[table.replaces]} > newest._newest)"
        )

    def content_columns(self) -> list[str]:
        """The contract's own columns."""
        return [name for name in self._mapper.published_columns() if name not in LINEAGE]

    def count(self, ranges: Sequence[OffsetRange], load_id: str = "") -> list[dict[str, Any]]:
        """By ``partition`` the ``rows`` of some ranges and their ``offsets``.

        Args:
            load_id: only rows of this load; all when empty.
        """
        own = " AND _load_id = {load:String}" if load_id else ""
        return self._clickhouse.rows(
            "SELECT _partition AS partition, count() AS rows, uniqExact(_offset) AS offsets"
            f" FROM {self.name} WHERE _topic = {{topic:String}} AND ({offset_condition(ranges)}){own}"
            " GROUP BY _partition",
            {"topic": self._contract.topic, "load": load_id},
            self.settings,
        )

    def insert_statement(self, columns: Mapping[str, str], missing_rows: str) -> str:
        """The statement that copies rows. Parameters: ``topic``, ``attempt``, ``load``.

        Args:
            columns: target column → SQL over a staged row; see :meth:`columns`.
            missing_rows: see :meth:`missing_rows`.
        """
        return (
            f"INSERT INTO {self.name} ({', '.join(map(quote_identifier, columns))})"
            f" SELECT {', '.join(columns.values())} {missing_rows}"
        )

    def columns(self, source: str, shape: str) -> dict[str, str]:
        """Target column → SQL, of the columns that the staged rows can fill.

        Rows staged under an older contract lack its newer fields; those columns take their
        defaults, which are the values that an upgrade gives.

        Raises:
            ShapeChanged: they were staged under a newer contract: a field of theirs has no
                column here, and would be lost.
        """
        columns = self._mapper.published_columns()
        if shape == self._mapper.shape:
            return columns
        described = self._clickhouse.rows(
            f"DESCRIBE TABLE {source} SETTINGS describe_include_subcolumns = 1"
        )
        staged = {row["name"] for row in described if row["name"].startswith(f"{STAGED}.")}
        mine = {c.name: ".".join((STAGED, *c.path)) for c in self._mapper.columns}
        unknown = {name for name in staged if not _related(name, mine.values())}
        if unknown:
            raise ShapeChanged(
                "rows were staged under a newer contract, with fields that this one does not have:"
                f" {', '.join(sorted(unknown))}; publish them with the contract that staged them",
                topic=self._contract.topic,
                field=min(unknown).removeprefix(f"{STAGED}."),
            )
        return {n: sql for n, sql in columns.items() if n not in mine or mine[n] in staged}


def _related(name: str, paths: Collection[str]) -> bool:
    """Whether a subcolumn is one of the paths, or above or below one."""
    return any(
        name == path or name.startswith(f"{path}.") or path.startswith(f"{name}.") for path in paths
    )
