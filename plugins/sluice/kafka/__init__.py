"""Reads exact offset ranges from Kafka and schemas from a registry. Owns confluent-kafka."""
