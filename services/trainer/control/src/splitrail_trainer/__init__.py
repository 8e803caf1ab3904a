"""The trainer service: runs and evaluations as jobs with attempts and leases."""
