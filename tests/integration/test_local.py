"""Starting, finding again and stopping a service of the local stack."""

import sys
from pathlib import Path

import psutil
import pytest

from local.process import NotReady, Service
from sluice.plan import owners

FOREVER = [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(600)"]


def test_a_second_start_finds_the_first_and_stop_ends_exactly_it(tmp_path: Path) -> None:
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


def test_a_reused_process_id_is_not_taken_for_the_service(tmp_path: Path) -> None:
    service = Service("one", tmp_path, lambda: True)
    (tmp_path / "one.pid").write_text(f'{{"pid": {psutil.Process().pid}, "started": 1.0}}')
    assert service.process() is None
    assert not service.stop()


def test_a_service_that_ends_shows_its_last_words(tmp_path: Path) -> None:
    service = Service("broken", tmp_path, lambda: False)
    service.start([sys.executable, "-c", "print('the reason why')"], tmp_path)
    with pytest.raises(NotReady, match="the reason why"):
        service.wait()


def test_a_service_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    service = Service("slow", tmp_path, lambda: False, patience=0.5)
    try:
        service.start(FOREVER, tmp_path)
        with pytest.raises(NotReady, match="not ready after"):
            service.wait()
    finally:
        service.stop()


def test_a_process_is_over_when_it_is_gone() -> None:
    mine = owners.process_owner()
    assert owners.is_process_over(mine) is False
    assert owners.process_owner() != mine
    kind, host, pid, started = mine.partition("#")[0].split("/")
    assert owners.is_process_over(f"{kind}/{host}/{pid}/{started}9") is True
    assert owners.is_process_over(f"{kind}/{host}/99999999/{started}") is True
    assert owners.is_process_over(f"{kind}/elsewhere/{pid}/{started}") is None
    assert owners.is_process_over("airflow/load_orders/run") is None
