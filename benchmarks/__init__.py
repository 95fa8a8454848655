"""Benchmarks that measure the documented performance claims."""
