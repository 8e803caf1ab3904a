"""Versions that callers make: `drafts`, `classes` and `differences` are pure, `service` holds the use cases, `store`
the SQL's side of them.
"""
