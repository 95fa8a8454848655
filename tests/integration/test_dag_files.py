"""The DAG files and the plugin, each in a fresh interpreter with Airflow's own loaders."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.airflow import environment
from local.stack import ROOT
from sluice.contract import discover


def in_airflow(tmp_path: Path, code: str) -> dict[str, Any]:
    """Run code that prints one JSON object, in Airflow's environment."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment(ROOT, tmp_path, 1, {"admin": "x"})},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


DAGS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({folder!r})
print(json.dumps({{
    "errors": bag.import_errors,
    "dags": {{d.dag_id: {{
        "tasks": {{t.task_id: sorted(t.downstream_task_ids) for t in d.tasks}},
        "catchup": d.catchup, "doc": bool(d.doc_md), "tags": sorted(d.tags),
        "schedule": str(d.timetable.summary if hasattr(d.timetable, "summary") else d.timetable),
        "params": sorted(d.params), "owners": sorted({{t.owner for t in d.tasks}}),
        "retries": {{t.task_id: t.retries for t in d.tasks}},
    }} for d in bag.dags.values()}},
    "heavy": sorted(m for m in sys.modules if m in {heavy!r}),
}}, default=str))
"""
HEAVY = ("great_expectations", "clickhouse_connect", "confluent_kafka", "pandas", "chdb")


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = str(ROOT / "dags")
    return in_airflow(tmp_path_factory.mktemp("bag"), DAGS.format(folder=folder, heavy=HEAVY))


def test_every_topic_has_its_load_dag(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    topics = {f"{kind}_{topic}" for topic in discover() for kind in ("load", "replay")}
    assert {"load_orders", "replay_payments"} <= topics
    assert set(bag["dags"]) == topics | {"sluice_housekeeping"}


ONE = """
import json, os, sys
os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = {dag!r}
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({file!r})
print(json.dumps({{
    "errors": bag.import_errors,
    "dags": sorted(bag.dags),
    "imported": sorted(m for m in sys.modules if m.startswith("include.schemas.")),
}}))
"""


@pytest.mark.parametrize("kind", ["load", "replay"])
def test_a_task_of_one_topic_imports_no_contract_of_another(tmp_path: Path, kind: str) -> None:
    dag, file = f"{kind}_payments", str(ROOT / f"dags/{kind}.py")
    found = in_airflow(tmp_path, ONE.format(dag=dag, file=file))
    assert found["errors"] == {}
    assert found["dags"] == [dag]
    assert found["imported"] == ["include.schemas.payments"]


def test_the_steps_are_in_order(bag: dict[str, Any]) -> None:
    for name, dag in bag["dags"].items():
        if name == "sluice_housekeeping":
            assert dag["tasks"] == {"clean": []}
            continue
        assert dag["tasks"] == {
            "plan": ["audit", "drain"],
            "drain": ["audit"],
            "audit": ["decide"],
            "decide": ["publish"],
            "publish": ["report"],
            "report": [],
        }


def test_every_dag_keeps_the_policy(bag: dict[str, Any]) -> None:
    for name, dag in bag["dags"].items():
        assert dag["catchup"] is False
        assert dag["doc"]
        assert "sluice" in dag["tags"]
        assert dag["owners"] not in ([], ["airflow"])
        assert all(dag["retries"].values())
        if name != "sluice_housekeeping":
            assert {"partitions", "max_messages"} <= set(dag["params"])


def test_parsing_imports_nothing_heavy(bag: dict[str, Any]) -> None:
    assert bag["heavy"] == []


PLUGINS = """
import json, sys
import sysconfig
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
folder = {folder!r}
stray = sorted(
    name for name, module in list(sys.modules.items())
    if (getattr(module, "__file__", None) or "").startswith(folder + "/sluice/")
    and not name.startswith("sluice")
)
import types, json as standard
print(json.dumps({{
    "errors": errors,
    "plugins": sorted(p.name for p in plugins if "luice" in p.name),
    "stray": stray,
    "standard": [types.__file__.startswith(sysconfig.get_paths()["stdlib"]),
                 standard.__file__.startswith(sysconfig.get_paths()["stdlib"])],
    "pages": [m for m in sys.modules if m == "sluice.airflow.pages.app"],
}}))
"""


def test_the_plugin_loader_shadows_nothing_and_loads_nothing_twice(tmp_path: Path) -> None:
    found = in_airflow(tmp_path, PLUGINS.format(folder=str(ROOT / "plugins")))
    assert found == {
        "errors": {},
        "plugins": ["sluice"],
        "stray": [],
        "standard": [True, True],
        "pages": [],
    }


def test_a_broken_contract_is_an_import_error_and_costs_no_other_dag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "their_contracts"
    package.mkdir()
    (package / "__init__.py").touch()
    source = ROOT / "include" / "schemas" / "orders.py"
    (package / "orders.py").write_text(source.read_text())
    (package / "broken.py").write_text("contract = (")
    monkeypatch.setenv("SLUICE_CONTRACTS", "their_contracts")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    folder = str(ROOT / "dags")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    bag = in_airflow(tmp_path, code + DAGS.format(folder=folder, heavy=HEAVY))
    assert set(bag["dags"]) == {"load_orders", "replay_orders", "sluice_housekeeping"}
    ((file, error),) = bag["errors"].items()
    assert file.endswith("broken_contracts.py")
    assert "their_contracts.broken" in error
    assert "SyntaxError" in error
