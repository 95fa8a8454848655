"""Fails while a contract cannot be used, so that Airflow shows the error; makes no DAG.

The DAGs of all other topics are made by load.py and replay.py.
"""

from sluice.contract.discovery import raise_broken

raise_broken()
