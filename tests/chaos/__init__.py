"""Loads under kills, cuts, pauses and rivals, judged by the audit: ``make chaos``."""
