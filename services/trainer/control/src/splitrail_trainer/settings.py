"""Settings of the trainer service; the names are in `splitrail_common.settings`."""

from pathlib import Path

from pydantic import Field, SecretStr
from splitrail_common.settings import DatabaseSettings, ObjectStoreSettings


class Settings(DatabaseSettings, ObjectStoreSettings):
    """From the environment, prefix SPLITRAIL_."""

    nats_url: SecretStr
    """With the credentials of a user that may do everything."""
    signing_key_file: Path
    """PEM of the issuer splitrail-trainer: signs attempt tokens and this service's own."""
    split_address: str
    """host:port of the split service."""
    metrics_address: str
    """host:port of the metrics service."""
    lease_seconds: float = Field(default=15.0, gt=0, le=3600)
    """How long a pod may be silent before its job is given to another."""
    attempt_token_seconds: int = Field(default=7200, ge=60)
    """Life of an attempt token; heartbeats renew it after half of that. A pod survives outages of this service shorter
    than the rest.
    """
    max_attempts: int = Field(default=3, ge=1, le=100)
    """Failures since the last stored checkpoint that end a job."""
