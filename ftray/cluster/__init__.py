"""Checks cluster files before anything is started, and runs studies as jobs on clusters."""
