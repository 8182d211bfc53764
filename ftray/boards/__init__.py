"""Boards: what a study looks like to people, live in a browser, as one file to keep, and to TensorBoard.

Takes: a study that `results.open_study` opens. Gives: `ftray dashboard`, `ftray report`, TensorBoard's event files. All
of it is derived from the run folder, by the functions that a notebook uses; needs neither torch nor Ray.
"""
