"""The command line: the same loads as the DAGs, without Airflow."""

import logging
import sys
from pathlib import Path
from typing import Any

import click
import structlog
from structlog.typing import EventDict

from sluice import __version__
from sluice.cli.commands import (
    backfill,
    decide,
    forget,
    housekeeping,
    init,
    loads,
    new_topic,
    quarantine,
    samples,
    schemas,
    tables,
    verify,
    where,
)
from sluice.errors import SluiceError
from sluice.store.quarantine import printable_text
from sluice.telemetry import export_from_environment


class SluiceGroup(click.Group):
    """A command group that prints errors of Sluice and of files as sentences, not as tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; convert these errors to messages."""
        try:
            return super().invoke(ctx)
        except SluiceError as error:
            raise click.ClickException(printable_text(str(error))) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from error


def _escape_controls(logger: Any, method: str, event: EventDict) -> EventDict:
    """A processor of the log: its values may be a sender's texts."""
    return {k: printable_text(v) if isinstance(v, str) else v for k, v in event.items()}


@click.group(cls=SluiceGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("-v", "--verbose", is_flag=True, help="Show the log of every step.")
def main(verbose: bool) -> None:
    """Drain Kafka topics into ClickHouse in audited micro-batches.

    The environment variables AIRFLOW_CONN_KAFKA_DEFAULT and AIRFLOW_CONN_CLICKHOUSE_DEFAULT hold
    the connections, in Airflow's format. They can also be in .env. The default is the local
    stack, if it was started here.
    """
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="%H:%M:%S"),
            structlog.processors.add_log_level,
            _escape_controls,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.INFO if verbose else logging.ERROR
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    sys.path.append(str(Path.cwd()))  # where the package of the contracts may be
    export_from_environment()


for command in (
    schemas.topics,
    schemas.schema,
    new_topic.new_topic,
    tables.ddl,
    tables.migrate,
    init.init,
    loads.load,
    backfill.backfill,
    loads.status,
    loads.log,
    loads.report,
    verify.verify,
    quarantine.quarantine,
    decide.release,
    decide.discard,
    forget.forget,
    where.where,
    housekeeping.housekeeping,
    samples.produce_samples,
):
    main.add_command(command)
