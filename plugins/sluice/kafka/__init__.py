"""Reads exact offset ranges, and schemas from a registry. Owns confluent-kafka."""
