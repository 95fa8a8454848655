"""``python -m local.clickhouse FOLDER --port 8123``: serve one data folder until stopped."""

import os
import signal
import sys
import threading

import click

from local.clickhouse.engine import Engine
from local.clickhouse.server import Server


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--port", default=8123, show_default=True, help="Port on the loopback interface.")
@click.option("--user", default="default", show_default=True, help="Name of the only user.")
@click.option("--slots", default=8, show_default=True, help="Statements that may run concurrently.")
def main(folder: str, port: int, user: str, slots: int) -> None:
    """Serve ClickHouse's HTTP interface over the data in FOLDER.

    The password comes from CLICKHOUSE_PASSWORD and must not be empty.
    """
    password = os.environ.pop("CLICKHOUSE_PASSWORD", "")
    if not password:
        sys.exit("CLICKHOUSE_PASSWORD is not set")
    try:
        engine = Engine(folder, slots)
    except RuntimeError as error:
        sys.exit(f"cannot open {folder}: {error}")
    server = Server(engine, port, user, password)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"ready on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
    engine.close()


main()
