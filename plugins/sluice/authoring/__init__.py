"""Tools for writing contracts: ``new-topic``, lint, sample messages, the schema catalogue."""
