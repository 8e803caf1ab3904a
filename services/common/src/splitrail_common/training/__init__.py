"""What the trainer service and its pod both know of a training: its arguments and its models. Imports no torch."""
