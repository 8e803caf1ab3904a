"""What the metrics service reads from its environment."""

from pydantic import SecretStr
from splitrail_common.settings import DatabaseSettings, ObjectStoreSettings


class Settings(DatabaseSettings, ObjectStoreSettings):
    """See splitrail_common.settings for the names of the variables."""

    nats_url: SecretStr
    """With the credentials of a user that may do everything."""
    trainer_address: str
    """host:port of the trainer service, which knows the runs that have not reported yet."""
    heartbeat_seconds: float = 10.0
    """A watch on which nothing happens sends a heartbeat this often."""
    watch_stall_seconds: float = 30.0
    """A watcher that takes longer than this to accept one message is closed."""
