"""Evaluations: a run judged on a part of a split."""
