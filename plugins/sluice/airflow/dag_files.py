"""The contracts whose DAGs a DAG file makes."""

from airflow.sdk import get_parsing_context

from sluice.airflow.dag_ids import Kind, dag_id
from sluice.contract import Contract, discover, find
from sluice.errors import ContractError


def contracts_to_parse(kind: Kind) -> dict[str, Contract]:
    """Topic → contract, of all topics; where Airflow needs one DAG only, of that one.

    A task's process parses the file again. With hundreds of topics it would import all of their
    contracts to run a task of one.
    """
    wanted = get_parsing_context().dag_id
    if wanted is None:
        return discover()
    try:
        contract = find(wanted.removeprefix(f"{kind}_"))
    except ContractError:
        return discover()  # a topic whose DAG has a digest in its id
    return {contract.topic: contract} if dag_id(contract.topic, kind) == wanted else discover()
