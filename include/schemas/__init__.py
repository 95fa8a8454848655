"""One module a topic. Adding a topic is adding a module with a ``contract`` in it."""
