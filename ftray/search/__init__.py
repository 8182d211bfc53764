"""Search: the space of a study, what it searches for, and the samplers that propose configurations.

Takes: a trial file with parameter ranges. Gives: filled trees, objectives, samplers. Needs optuna, no torch, no Ray.
"""
