"""Calls to the platform's services, transfers from and to the object store, what their errors mean and when they are
retried.
"""
