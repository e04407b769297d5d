"""A connection to PostgreSQL: its address without the password, its faults in our words, its extension."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from matryoshka_text.errors import RunError
from matryoshka_text.extras import optional
from matryoshka_text.search.sql import Sql

__all__ = ["connected", "psycopg", "required_extension"]

_WAIT_SECONDS = 15
_FORM = "postgresql://user@host:port/database, with the password in PGPASSWORD or in ~/.pgpass"
_MEMORY = "PGOPTIONS='-c maintenance_work_mem=2GB'"
# pgvector has subvector and halfvec since 0.7, walks that go on until a shortlist is full since 0.8.
_SUBVECTOR, _ITERATIVE = (0, 7), (0, 8)


def psycopg() -> Any:
    """The module; `ExtraMissing` with the install command if it is not installed."""
    return optional("psycopg", extra="postgres", purpose="loading an index into PostgreSQL")


@contextmanager
def connected(url: str) -> Iterator[tuple[Any, str]]:
    """A connection that commits each statement, and the server's name in messages, which never has the password.

    `RunError` for a server that is not there, refuses, or fails later.
    """
    library, (settings, place) = psycopg(), _settings_of(url)
    try:
        connection = library.connect(**settings, autocommit=True)
    except library.Error as error:
        raise RunError(
            f"{place}: cannot be reached ({_first_line(error)}); check that PostgreSQL runs there, that the "
            f"database exists and that the user may log in; allowed: {_FORM}"
        ) from None
    try:
        with connection:
            yield connection, place
    except library.Error as error:
        said = _first_line(error)
        way_out = f"give it more, such as {_MEMORY}," if "maintenance_work_mem" in said else "mend that"
        raise RunError(
            f"{place}: {said}; what was not finished is undone; {way_out} and run the same command again"
        ) from error


def required_extension(connection: Any, place: str, sql: Sql) -> None:
    """Add pgvector to the database if it is not there; `RunError` if that cannot be, or it is too old."""
    try:
        connection.execute(sql.extension)
    except psycopg().Error as error:
        raise RunError(
            f"{place}: has no pgvector ({_first_line(error)}); install pgvector on the server, or have its "
            f"administrator run: {sql.extension}"
        ) from error
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    least = _ITERATIVE if any("iterative" in setting for setting in sql.settings) else _SUBVECTOR
    if tuple(map(int, re.findall(r"\d+", row[0])))[:2] < least:
        raise RunError(
            f"{place}: found pgvector {row[0]}; allowed: {'.'.join(map(str, least))} or later; update it on the "
            "server, then: ALTER EXTENSION vector UPDATE"
        )


def _settings_of(url: str) -> tuple[dict[str, Any], str]:
    """What psycopg connects with, and host, port and database in one word.

    Parts of a password whose characters were not escaped would be read as the host, the port or the database, and come
    back in messages. So such an address is refused, without showing it.
    """
    library = psycopg()
    try:
        parts = urlsplit(url)
        split = url.count("@") > 1 or url.count("@") != parts.netloc.count("@")
        if split or parts.scheme not in ("postgresql", "postgres"):
            raise ValueError
        settings = library.conninfo.conninfo_to_dict(url)
        if not re.fullmatch(r"[\d,]*", str(settings.get("port", ""))):
            raise ValueError
    except (ValueError, library.Error):
        raise RunError(
            f"--to: found no address of PostgreSQL; allowed: {_FORM}; in an address, escape the characters "
            "@ : / ? # % and space of a password (@ is %40)"
        ) from None
    settings.setdefault("connect_timeout", _WAIT_SECONDS)
    host = settings.get("host", "localhost")
    port = f":{settings['port']}" if "port" in settings else ""
    return settings, f"postgresql://{host}{port}/{settings.get('dbname', '')}"


def _first_line(error: Any) -> str:
    """The server's own words, with its hint."""
    said = error.diag.message_primary or str(error).splitlines()[0]
    return " ".join([said, *([error.diag.message_hint] if error.diag.message_hint else [])]).rstrip(".")
