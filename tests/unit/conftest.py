"""How Hypothesis searches: the same examples in every run, or new ones when asked to explore.

``make test ARGS="--hypothesis-profile=explore"`` looks at examples that no run has seen yet.
"""

from hypothesis import settings

settings.register_profile("steady", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("steady")
