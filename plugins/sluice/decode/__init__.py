"""Decodes bytes to a validated message of the current version, or to a refusal."""
