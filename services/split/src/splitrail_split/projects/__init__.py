"""Projects, which own datasets and are what roles are given in."""
