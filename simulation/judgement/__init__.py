"""From evidence to a verdict: ten checkers, the comparison with what was planted, the figures."""
