"""The pages within Airflow's UI, one module per page."""
