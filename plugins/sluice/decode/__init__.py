"""Turns bytes into a validated message of the current version, or into a refusal."""
