"""Runs: trainings, from the request to their result."""
