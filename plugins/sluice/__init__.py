"""Sluice drains Kafka topics into ClickHouse in audited micro-batches.

How a message travels, by package:

1. ``contract``  what a topic carries: its Struct, older versions, table and rules.
2. ``plan``      step 1: pins the offset ranges of a load and reserves them in the ledger.
3. ``kafka``     reads exactly those offsets.
4. ``decode``    bytes to a validated message of the current version, or a refusal.
5. ``drain``     step 2: stages rows in micro-batches; refused messages go to quarantine.
6. ``audit``     step 3: proves that every offset is accounted for; runs the quality rules.
7. ``publish``   step 4: makes the rows visible, exactly once.
8. ``report``    step 5: reports what happened, to people and to other systems.

``store`` is what is kept in ClickHouse. ``loader`` runs the steps in order, for Airflow's tasks
(``airflow``) and for the command line (``cli``) alike. ``README.md`` beside this file says where to
change what.

Offsets are always "next to read", and ranges half-open: ``[low, high)``.
"""

__version__ = "0.1.0"
