"""From the stream of events into Postgres."""
