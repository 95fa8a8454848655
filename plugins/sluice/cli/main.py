"""The command line: the same loads as the DAGs, without Airflow."""

import logging
import sys
from typing import Any

import click
import structlog

from sluice import __version__
from sluice.cli.commands import (
    backfill,
    decide,
    housekeeping,
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
from sluice.telemetry import export_from_environment


class SluiceGroup(click.Group):
    """A group whose known errors are shown as a sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn a known error into a message."""
        try:
            return super().invoke(ctx)
        except SluiceError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=SluiceGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("-v", "--verbose", is_flag=True, help="Show the log of every step.")
def main(verbose: bool) -> None:
    """Drain Kafka topics into ClickHouse in audited micro-batches.

    Kafka and ClickHouse are found by the environment variables AIRFLOW_CONN_KAFKA_DEFAULT and
    AIRFLOW_CONN_CLICKHOUSE_DEFAULT, in Airflow's own form, or in .env; those of the local
    stack are used when it was started here.
    """
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="%H:%M:%S"),
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.INFO if verbose else logging.ERROR
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    export_from_environment()


for command in (
    schemas.topics,
    schemas.schema,
    new_topic.new_topic,
    tables.ddl,
    tables.migrate,
    loads.load,
    backfill.backfill,
    loads.status,
    loads.report,
    verify.verify,
    quarantine.quarantine,
    decide.release,
    decide.discard,
    where.where,
    housekeeping.housekeeping,
    samples.produce_samples,
):
    main.add_command(command)
