"""Runs the whole stack on one machine, without Docker: ``python -m local up``."""
