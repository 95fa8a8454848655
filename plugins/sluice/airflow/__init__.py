"""Runs loads as Airflow DAGs: tasks, trigger forms, pages. Owns Airflow."""
