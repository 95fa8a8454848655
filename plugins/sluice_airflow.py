"""Airflow loads its plugins from this folder; the plugin itself is part of the package."""

from sluice.airflow.plugin import SluicePlugin

__all__ = ["SluicePlugin"]
