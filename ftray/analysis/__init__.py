"""Analysis: what a study's records say: its best trial, its leaderboard, what luck explains, who beats whom.

Takes: trial records and tables. Gives: values; `study.Study` asks them all. Needs neither torch nor Ray.
"""
