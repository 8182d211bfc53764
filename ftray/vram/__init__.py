"""VRAM: what a process needs of a GPU's memory, what GPUs there are, and what was measured on them.

Takes: a `table.Worker`. Gives: GiB by measured rows, the table or a formula. Needs torch, and no Ray.
"""
