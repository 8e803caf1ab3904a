"""Feeds as they grow."""
