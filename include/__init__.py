"""What the project loads: the contracts."""
