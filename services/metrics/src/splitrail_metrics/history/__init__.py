"""Reads of feeds from Postgres."""
