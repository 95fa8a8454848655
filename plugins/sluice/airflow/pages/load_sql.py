"""SQL that the pages share: what the log and the accounts say of loads."""

LOAD_STATE = (
    "multiIf(countIf(e.state = 'published') > 0, 'published',"
    " countIf(e.state = 'abandoned') > 0, 'abandoned',"
    " argMaxIf(e.state, e.entry, e.state != 'adopted'))"
)
"""The state of a load, over its entries ``e`` of ``topic_log``; as in the view ``loads``, which
groups whole logs.
"""


def account_sums(database: str, which: str) -> str:
    """A query of ``load_id``, ``loaded`` and ``quarantined``, by the latest accounts.

    Args:
        database: the quoted name of the Sluice database.
        which: ``WHERE …`` over ``load_accounts``.
    """
    return (
        "SELECT load_id, sum(d) AS loaded, sum(q) AS quarantined FROM ("
        " SELECT load_id, partition, argMax(loaded, at) AS d, argMax(quarantined, at) AS q"
        f" FROM {database}.load_accounts {which} GROUP BY load_id, partition) GROUP BY load_id"
    )
