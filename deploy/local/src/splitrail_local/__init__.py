"""Splitrail's embedded stack: the real servers and services on loopback, kept running by supervisord."""
