"""Tables: the content of a run folder as typed columns, for queries.

Takes: a run folder. Gives: parquet files, derived from its events, and answers in SQL. Needs neither torch nor Ray.
"""
