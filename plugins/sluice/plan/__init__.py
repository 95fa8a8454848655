"""Step 1: pins the offset ranges of a load and reserves them."""
