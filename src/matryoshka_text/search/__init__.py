"""Search by prefixes: a shortlist by a few dims of everything, ordered anew at full width, tuned to a recall."""

from matryoshka_text.search.hits import Hits
from matryoshka_text.search.index import PrefixIndex
from matryoshka_text.search.plan import FUNNELS, Measured, Plan
from matryoshka_text.search.record import Origin
from matryoshka_text.search.stage import Stage
from matryoshka_text.search.tuning import Candidate, Tuning

__all__ = ["FUNNELS", "Candidate", "Hits", "Measured", "Origin", "Plan", "PrefixIndex", "Stage", "Tuning"]
