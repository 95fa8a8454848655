"""Validators, metrics and registries for programs that use the contracts outside of loads."""
