"""Starting, finding and stopping a service of the local stack; and when a process has ended."""

import sys
from pathlib import Path

import psutil
import pytest

from local.process import NotReady, Service
from sluice.plan import run_owners

FOREVER = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(600)"]


def test_a_second_start_finds_the_running_service_and_stop_ends_only_that_service(
    tmp_path: Path,
) -> None:
    service = Service("one", tmp_path, lambda: True)
    other = Service("two", tmp_path, lambda: True)
    try:
        service.start(FOREVER, tmp_path)
        other.start(FOREVER, tmp_path)
        first = service.process()
        again = Service("one", tmp_path, lambda: True)
        again.start(FOREVER, tmp_path)
        assert first is not None
        assert again.process() == first
        assert again.stop()
        assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE
        assert other.running()
        assert not again.stop()
    finally:
        service.stop()
        other.stop()


def test_a_reused_process_id_is_not_the_service(tmp_path: Path) -> None:
    service = Service("one", tmp_path, lambda: True)
    (tmp_path / "one.pid").write_text(f'{{"pid": {psutil.Process().pid}, "started": 1.0}}')
    assert service.process() is None
    assert not service.stop()


def test_the_error_of_a_service_that_ended_quotes_its_log(tmp_path: Path) -> None:
    service = Service("broken", tmp_path, lambda: False)
    service.start([sys.executable, "-c", "print('the reason why')"], tmp_path)
    with pytest.raises(NotReady, match="the reason why"):
        service.wait()


def test_waiting_for_a_service_times_out(tmp_path: Path) -> None:
    service = Service("slow", tmp_path, lambda: False, timeout=0.5)
    try:
        service.start(FOREVER, tmp_path)
        with pytest.raises(NotReady, match="not ready after"):
            service.wait()
    finally:
        service.stop()


def test_a_process_is_over_when_it_has_ended() -> None:
    mine = run_owners.process_owner()
    assert run_owners.is_process_over(mine) is False
    assert run_owners.process_owner() != mine
    kind, host, pid, started = mine.partition("#")[0].split("/")
    assert run_owners.is_process_over(f"{kind}/{host}/{pid}/{started}9") is True
    assert run_owners.is_process_over(f"{kind}/{host}/99999999/{started}") is True
    assert run_owners.is_process_over(f"{kind}/elsewhere/{pid}/{started}") is None
    assert run_owners.is_process_over("airflow/load_orders/run") is None
