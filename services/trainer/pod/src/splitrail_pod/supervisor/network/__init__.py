"""Calls to the platform's services and transfers from and to the object store, with their errors sorted and their retries bounded."""
