"""Where Postgres and S3 are reached: plain values that servers hand to storage, landing and the warehouse."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class S3Endpoint:
    """An S3 server and the credentials for it; `url` is None for AWS itself."""

    url: str | None
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str | None:
        """``HOST:PORT`` as DuckDB wants it, or None for AWS itself."""
        return urlsplit(self.url).netloc if self.url else None

    @property
    def use_ssl(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url is None or self.url.startswith("https://")


@dataclass(frozen=True)
class Endpoints:
    """The two systems that data lands in, and the lake's catalog; a DSN is what libpq takes, password included."""

    postgres_dsn: str = field(repr=False)
    s3: S3Endpoint
    lake_dsn: str | None = field(default=None, repr=False)

    @property
    def catalog_dsn(self) -> str:
        """The Postgres of the lake's catalog: that of the landing zone where it has none of its own."""
        return self.lake_dsn or self.postgres_dsn
