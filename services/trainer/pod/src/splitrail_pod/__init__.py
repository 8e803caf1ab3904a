"""The trainer pod: a supervisor (asyncio, network) and the training process (torch, no network)."""
