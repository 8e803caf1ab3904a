"""The training process: imports torch and Ultralytics, knows no network, writes to the spool and the work directory.

Run as ``python -m splitrail_pod.training SPEC.json``; `spec` holds both formats, what goes in and what comes out.
`spec`, `models`, `checkpoint` and `environment` import no torch, so that the supervisor may use them.
"""
