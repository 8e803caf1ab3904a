"""The trainer service: runs and evaluations as jobs with attempts and leases.

A wing is one capability; it imports only wings below it (`make lint` checks that):

    app           the composition root
    queue         what pods call: claims, leases, checkpoints and files, ends
    evaluations   what users call about evaluations
    runs          what users call about runs
    jobs          states, attempts and the outbox, which runs and evaluations share
    data, models  split revisions of the split service; files that attempts leave, and their removal
    arguments     the checks of arguments; their table is splitrail_common.training.arguments
"""
