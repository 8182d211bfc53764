"""The version: pyproject.toml and the command line read it here. Code that travels to a cluster brings it along."""

__version__ = "0.2.0"
