"""What leaves the pod: events, evaluation results, checkpoints, artifacts and plots."""
