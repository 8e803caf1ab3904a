"""The errors that the command line shows without a traceback."""


class StackError(Exception):
    """The embedded stack cannot do what was asked; the message says what, where and what to do."""


class DamagedRecordError(StackError):
    """What the stack remembers between starts cannot be read."""
