"""Fault injection: kills, cuts, pauses and concurrent loads, then an audit: ``make chaos``."""
