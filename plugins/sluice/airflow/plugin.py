"""Airflow plugin: the topics in the navigation, a tab on each DAG, the report on each run."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/sluice"


class LazyApp:
    """The pages, built at the first request: every process that loads plugins imports this file."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI event."""
        if self._app is None:
            from sluice.airflow.pages.app import build_app

            self._app = build_app()
        await self._app(scope, receive, send)


class SluicePlugin(AirflowPlugin):
    """Registers the pages and their places in the UI."""

    name = "sluice"
    fastapi_apps = [{"app": LazyApp(), "url_prefix": PREFIX, "name": "Sluice"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Load report",
            "href": f"{PREFIX}/run?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "sluice",
        },
        {
            "name": "Sluice",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "url_route": "sluice-topics",
        },
        {
            "name": "Topic",
            "href": f"{PREFIX}/topic/{{DAG_ID}}",
            "destination": "dag",
            "url_route": "sluice-topic",
        },
    ]
