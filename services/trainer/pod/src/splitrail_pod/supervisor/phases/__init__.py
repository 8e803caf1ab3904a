"""The phases of an attempt, in this order: `stage` and `resume` side by side, `train`, `finish`; and `end` for every
attempt that does not finish.
"""
