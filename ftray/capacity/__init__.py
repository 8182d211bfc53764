"""Capacity: the nodes that a cluster has or may start, and how many jobs they hold at once.

Takes: the running Ray, a cluster file, placements. Gives: nodes, a view of the cluster, an elastic capacity.
"""
