"""Evaluations: the weights of a run evaluated on a part of a split."""
