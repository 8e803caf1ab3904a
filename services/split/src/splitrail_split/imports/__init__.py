"""Imports: an announced source becomes a version."""
