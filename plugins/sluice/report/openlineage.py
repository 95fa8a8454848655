"""OpenLineage events of a load: where its rows came from, their schema, their quality.

OpenLineage's own configuration determines where they are sent; see
:func:`sluice.settings.lineage_is_wanted`. Datasets are named by OpenLineage's naming rules:
``kafka://host:port`` and the topic, ``clickhouse://host:port`` and the table.
"""

import os
import uuid
from collections.abc import Iterator
from typing import cast

import structlog
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    DatasetFacet,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    ownership_job,
    schema_dataset,
)

from sluice import __version__
from sluice.contract import Contract
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.contract.type_descriptions import type_name
from sluice.report.model import Report
from sluice.settings import Connection
from sluice.store.clickhouse_client import server_address

log = structlog.get_logger()

PRODUCER = f"pkg:pypi/sluice@{__version__}"
ENDS = {"published": RunState.COMPLETE, "abandoned": RunState.ABORT}


class Lineage:
    """Makes and sends the events of loads of one contract.

    Args:
        kafka: connection of the Kafka cluster; its servers name the topic's dataset.
        clickhouse: connection of ClickHouse; host and port name the tables' datasets.
    """

    def __init__(self, contract: Contract, kafka: Connection, clickhouse: Connection) -> None:
        self._contract, self._mapper = contract, ClickHouseSchemaMapper.of(contract)
        first_server = str(kafka.extra.get("bootstrap.servers", "unknown")).split(",")[0]
        self._kafka = f"kafka://{first_server.rpartition('://')[2]}"
        host, port = server_address(clickhouse)
        self._clickhouse = f"clickhouse://{host}:{port}"

    def send(self, report: Report, ledger_database: str) -> None:
        """Send the events of a load that has ended.

        A listener that does not respond is logged, and fails no load.
        """
        try:
            client = OpenLineageClient()
            try:
                for event in self.events(report, ledger_database):
                    client.emit(event)
            finally:
                client.close()
        except Exception as error:  # each transport raises its own
            log.warning("lineage_not_sent", error=f"{type(error).__name__}: {error}")

    def events(self, report: Report, ledger_database: str) -> Iterator[RunEvent]:
        """The start event, and the end event with everything that is known of the load."""
        # Always the same id for a load, so that listeners recognise it.
        run = Run(str(uuid.uuid5(uuid.NAMESPACE_URL, f"sluice:{report.load_id}")))
        yield RunEvent(
            eventType=RunState.START,
            eventTime=report.planned_at.isoformat(),
            run=run,
            job=self._job(),
            producer=PRODUCER,
            inputs=[InputDataset(self._kafka, report.topic)],
            outputs=[OutputDataset(self._clickhouse, report.table)],
        )
        if report.error:
            error = error_message_run.ErrorMessageRunFacet(report.error, "PYTHON")
            run = Run(run.runId, facets={"errorMessage": error})
        yield RunEvent(
            eventType=ENDS.get(report.state, RunState.FAIL),
            eventTime=report.ended_at.isoformat(),
            run=run,
            job=self._job(),
            producer=PRODUCER,
            inputs=[self._topic(report)],
            outputs=[self._target(report), self._quarantine(report, ledger_database)],
        )

    def _job(self) -> Job:
        return Job(
            namespace=os.environ.get("OPENLINEAGE_NAMESPACE", "default"),
            name=f"sluice.load_{self._contract.topic}",
            facets={
                "jobType": job_type_job.JobTypeJobFacet("BATCH", "SLUICE", jobType="LOAD"),
                "ownership": ownership_job.OwnershipJobFacet(
                    owners=[ownership_job.Owner(name=f"team:{self._contract.owner}")]
                ),
            },
        )

    def _topic(self, report: Report) -> InputDataset:
        fields = [
            schema_dataset.SchemaDatasetFacetFields(
                name=".".join(column.path),
                type=type_name(column.info),
                description=column.comment or None,
            )
            for column in self._mapper.columns
        ]
        statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=report.sum("planned"), size=report.bytes
        )
        return InputDataset(
            self._kafka,
            report.topic,
            facets={"schema": schema_dataset.SchemaDatasetFacet(fields=fields)},
            inputFacets={"inputStatistics": statistics},
        )

    def _target(self, report: Report) -> OutputDataset:
        fields = [
            schema_dataset.SchemaDatasetFacetFields(
                name=column.name, type=str(column.type.stored), description=column.comment or None
            )
            for column in self._mapper.columns
        ]
        lineage = {
            column.name: column_lineage_dataset.Fields(
                inputFields=[
                    column_lineage_dataset.InputField(
                        self._kafka, report.topic, ".".join(column.path)
                    )
                ]
            )
            for column in self._mapper.columns
        }
        assertions = [
            data_quality_assertions_dataset.Assertion(
                assertion=rule.description,
                success=rule.success,
                column=rule.column or None,
                severity="error" if rule.severity == "critical" else "warn",
            )
            for rule in report.quality
        ]
        facets: dict[str, DatasetFacet] = {
            "schema": schema_dataset.SchemaDatasetFacet(fields=fields),
            "columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet(fields=lineage),
            # Defined for inputs, but it is the output's rows that the rules were checked against.
            "dataQualityAssertions": cast(
                DatasetFacet,
                data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(assertions),
            ),
        }
        loaded = report.sum("loaded") if report.state == "published" else 0
        return _with_rows(OutputDataset(self._clickhouse, report.table, facets=facets), loaded)

    def _quarantine(self, report: Report, ledger_database: str) -> OutputDataset:
        name = f"{ledger_database}.quarantine_rows"
        return _with_rows(OutputDataset(self._clickhouse, name), report.sum("quarantined"))


def _with_rows(dataset: OutputDataset, rows: int) -> OutputDataset:
    dataset.outputFacets = {
        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=rows
        )
    }
    return dataset
