"""The Sluice database, as one request sees it."""

from sluice.airflow.pages.queries import PageQueries
from sluice.airflow.tasks import connection
from sluice.settings import Settings
from sluice.store.clickhouse import connect
from sluice.store.ledger import Ledger


class Store:
    """A connection for one request."""

    def __init__(self) -> None:
        settings = Settings()
        self.clickhouse = connect(connection(settings.clickhouse_conn_id))
        self.database = settings.database
        self.ledger = Ledger(self.clickhouse, settings.database)
        self.queries = PageQueries(self.clickhouse, self.ledger)
