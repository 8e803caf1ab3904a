"""Models: the checkpoints and weights that attempts leave, and their bytes in S3."""
