"""Who may see what: Airflow's logins and permissions on the DAGs of a topic.

A user who may read the runs of a topic's load DAG sees the topic; payloads of messages are shown to
users who may trigger it.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends

from sluice.airflow.dag_ids import dag_id
from sluice.contract import Contract, discover
from sluice.contract.masking import mask
from sluice.errors import PlanError

CAN_READ_RUNS = [Depends(requires_access_dag("GET", DagAccessEntity.RUN))]
"""For pages whose address has the DAG's id."""

User = Annotated[BaseUser, Depends(get_user)]


def may_read(user: BaseUser, topic: str) -> bool:
    """Whether a user may read the runs of a topic's load DAG."""
    return _may(user, "GET", topic)


def may_trigger(user: BaseUser, topic: str) -> bool:
    """Whether a user may trigger a topic's load DAG, and so see the payloads of its messages."""
    return _may(user, "POST", topic)


def _may(user: BaseUser, method: Any, topic: str) -> bool:
    return get_auth_manager().is_authorized_dag(
        method=method,
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=dag_id(topic)),
        user=user,
    )


def visible_contracts(user: BaseUser) -> dict[str, Contract]:
    """The contracts of the topics that a user may see, by topic."""
    return {topic: c for topic, c in discover().items() if may_read(user, topic)}


def contract_of(dag: str) -> Contract:
    """The contract of a topic's DAG.

    Raises:
        PlanError: no topic has a DAG of this id.
    """
    for topic, contract in discover().items():
        if dag in (dag_id(topic), dag_id(topic, "replay")):
            return contract
    raise PlanError(f"{dag!r} is not the DAG of a topic")


def refusal_text(user: BaseUser, contract: Contract) -> Callable[[str, str, str], str]:
    """A function of reason, field and message: the message, as far as the user may see it."""
    if may_trigger(user, contract.topic):
        return lambda reason, field, message: message
    return partial(mask, contract)
