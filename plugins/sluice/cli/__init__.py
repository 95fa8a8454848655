"""The command line: ``sluice`` runs the loads and reports of the DAGs without Airflow."""
