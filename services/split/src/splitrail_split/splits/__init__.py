"""Split revisions: made, certified, compared, pinned, deleted."""
