"""Settings from the environment: frozen, and everything that is missing or wrong is named at once."""

import sys
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="EnvironmentSettings")


class EnvironmentSettings(BaseSettings):
    """Variables are the field names in upper case with the prefix SPLITRAIL_. Secrets have no default."""

    model_config = SettingsConfigDict(env_prefix="SPLITRAIL_", frozen=True, extra="ignore")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    start_deadline_seconds: float = 60.0
    """How long to wait at start for the stores to answer."""


class ServiceSettings(EnvironmentSettings):
    """For the gRPC services, which verify tokens."""

    listen: str
    """host:port"""
    jwks_file: Path
    """Public keys of all issuers, as a JWK set."""


class DatabaseSettings(ServiceSettings):
    """For services with a database of their own."""

    database_dsn: SecretStr
    database_pool_size: int = 10


class ObjectStoreSettings(ServiceSettings):
    """For services that read, write or sign objects."""

    s3_endpoint: str
    """URL that this process reaches S3 at."""
    s3_public_endpoint: str
    """URL that clients and pods reach S3 at: signed URLs name this one."""
    s3_bucket: str = "splitrail"
    s3_region: str = "us-east-1"
    s3_access_key: str
    s3_secret_key: SecretStr
    s3_reader_access_key: str
    """Key that can only read: signs download URLs."""
    s3_reader_secret_key: SecretStr
    s3_writer_access_key: str
    """Key that can only write below staging/ and attempts/: signs upload URLs."""
    s3_writer_secret_key: SecretStr


def load(kind: type[S]) -> S:
    """Reads the settings, or exits with status 2 and one line for each variable that is missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        lines = [
            f"  SPLITRAIL_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        ]
        sys.stderr.write("settings are missing or wrong in the environment:\n" + "\n".join(lines) + "\n")
        raise SystemExit(2) from None
