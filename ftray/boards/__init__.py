"""Boards: a study as a live page in a browser, as one HTML file, in a terminal and in TensorBoard.

Takes: a study that `ftray.open_study` opens. Gives: `ftray dashboard`, `ftray report`, TensorBoard's event files. All
of it is derived from the run folder, by the functions that a notebook uses; needs neither torch nor Ray.
"""
