"""Step 2: reads a chunk, decodes it, stages the rows and quarantines what is refused."""
