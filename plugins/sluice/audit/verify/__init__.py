"""Compares everything that was ever loaded of a topic, offset by offset. Reads only."""
