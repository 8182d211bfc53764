"""Tests of ftray."""
