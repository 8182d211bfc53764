"""Hypothesis without a stopwatch: on a shared machine the first example may take as long as it likes."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
