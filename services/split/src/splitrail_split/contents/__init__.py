"""Bytes in the object store: staged, verified, kept as assets, shown small, and removed when nothing refers to them."""
