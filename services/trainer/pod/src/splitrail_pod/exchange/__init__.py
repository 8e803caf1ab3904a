"""What the supervisor and the training process exchange: messages, the spool that carries them, packed checkpoints.

Imports neither torch nor a network client: both processes use it.
"""
