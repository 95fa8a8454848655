"""Sluice drains Kafka topics into ClickHouse in audited micro-batches.

How a message travels, by module:

1. ``contract``  says what a topic carries: its Struct, older versions, table, rules.
2. ``planning``  pins the offset ranges of a load; ``ledger`` records and reserves them.
3. ``kafka``     reads exactly those offsets (``range_reader``).
4. ``wire``      strips what the wire added; ``decode`` validates and lifts old versions.
5. ``staging``   inserts micro-batches into the load's own table; refused ones are quarantined.
6. ``audit``     proves that every offset is accounted for; ``quality`` runs the expectations,
                 ``anomalies`` compares with the loads before; ``decisions`` are a person's.
7. ``publish``   makes the rows visible, exactly once.
8. ``report``    tells what happened; ``run_metrics``, ``spans`` and ``lineage`` tell others.

``load`` is those steps in order. It runs under Airflow (``dag_tasks``, ``on_airflow``, with
``pages`` for its UI) and from the command line (``cli``) alike.

Offsets are always "next to read", and ranges half-open: ``[low, high)``.
"""

__version__ = "0.1.0"
