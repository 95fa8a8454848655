"""The contracts of this project, one module per topic; each module defines a ``contract``."""
