"""Loaders for the services of a local stack."""

from local.stack import Stack
from sluice.contract import Contract
from sluice.loader import Loader
from sluice.settings import Settings, parse_connection


def loader_of(stack: Stack, contract: Contract, owner: str) -> Loader:
    """A loader of a contract in the databases that the stack's Airflow uses."""
    connections = stack.connections
    return Loader(
        contract,
        parse_connection(connections["AIRFLOW_CONN_KAFKA_DEFAULT"]),
        parse_connection(connections["AIRFLOW_CONN_CLICKHOUSE_DEFAULT"]),
        Settings(),
        owner,
    )
