"""The commands of ``sluice``, one module per group of commands."""
