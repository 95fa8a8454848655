"""Step 4: makes staged rows visible, exactly once."""
