"""The incarnation of the feeds: what their cursors count.

A restore from a backup takes back events that watchers have seen, and gives their seq to others. So it begins a new
incarnation, and a cursor of another one is refused. A restore is known by the database's fingerprint, which is stored
in the database itself: the cluster's identifier, its timeline (a recovery to a point in time and the promotion of a
replica begin a new one), and the identity of the database and of the table `feed` (a dump that is restored makes new
ones). A snapshot of the whole disk, put back, has the same fingerprint: after that, run `python -m splitrail_metrics
new-incarnation` once, before or while the service runs.
"""

import secrets

from splitrail_common import log
from splitrail_common.database import Connection, Queries

_log = log.get(__name__)
_QUERIES = Queries(__package__)


async def settle(connection: Connection) -> str:
    """The incarnation of this database, a new one when it is another database than the one that the stored one was
    begun in."""
    row = await (await connection.execute(_QUERIES["fingerprint"])).fetchone()
    parameters = {"incarnation": secrets.token_urlsafe(6), "fingerprint": row["fingerprint"] if row else ""}
    if await (await connection.execute(_QUERIES["settle_incarnation"], parameters)).fetchone():
        _log.info("a new incarnation of the feeds begins", **parameters)
    return await current(connection)


async def begin(connection: Connection) -> str:
    """A new incarnation, whatever the fingerprint."""
    await connection.execute(_QUERIES["forget_incarnation"])
    return await settle(connection)


async def current(connection: Connection) -> str:
    """The present incarnation; `settle` must have been called on this database."""
    row = await (await connection.execute(_QUERIES["get_incarnation"])).fetchone()
    if row is None:
        raise RuntimeError("the database has no incarnation of the feeds")
    return str(row["incarnation"])
