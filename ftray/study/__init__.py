"""A study: a trial file with search parameters, searched by Optuna, scheduled by Ray Tune, recorded in one run folder.

Takes a study file; gives a run folder. The only code that knows Tune. Parsing a study (`load_study`) touches no Ray.
"""

from ftray.study.search_spec import SearchSpec
from ftray.study.spec import StudySpec, load_study, parse_study

__all__ = ["SearchSpec", "StudySpec", "load_study", "parse_study"]
