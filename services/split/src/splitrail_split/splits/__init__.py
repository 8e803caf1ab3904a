"""Split revisions: made, judged, compared, pinned, deleted."""
