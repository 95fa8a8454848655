"""Writing and checking contracts: ``new-topic``, lint, samples, the schema catalogue."""
