"""Analysis of a study's records: its best trial, its leaderboard, what luck explains, who beats whom.

Takes: trial records and tables. Gives: values; `study.Study` offers all of them. Needs neither torch nor Ray.
"""
