"""The data of runs and evaluations: split revisions of the split service."""
