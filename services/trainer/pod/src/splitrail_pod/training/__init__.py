"""The training process: imports torch and Ultralytics, knows no network, writes to the spool and the work directory.

Run as ``python -m splitrail_pod.training SPEC.json``; `splitrail_pod.exchange.messages` says what goes in and what
comes out.
"""
