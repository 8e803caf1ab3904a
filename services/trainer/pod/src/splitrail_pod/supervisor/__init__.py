"""The supervisor: claims jobs and does them, with asyncio and the network. Imports neither torch nor Ultralytics."""
