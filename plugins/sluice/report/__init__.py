"""Step 5: reports what happened, to people and to other systems."""
