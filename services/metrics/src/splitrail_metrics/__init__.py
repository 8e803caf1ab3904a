"""The metrics service: ingest of run events, live watching, history."""
