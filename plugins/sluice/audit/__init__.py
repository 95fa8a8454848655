"""Step 3: proves a load before it is published; and ``verify``, at any time after."""
