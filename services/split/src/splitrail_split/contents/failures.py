"""What Postgres and the object store raise when they do not answer."""

import psycopg
from minio.error import S3Error
from psycopg_pool import PoolTimeout
from splitrail_common.errors import PlatformError

STORES_FAILED = (PlatformError, psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, S3Error, OSError)
"""To be tried again later: nothing of what failed has happened by halves."""
