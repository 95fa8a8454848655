"""The commands of ``sluice``, a module a family."""
