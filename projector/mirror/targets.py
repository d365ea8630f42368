"""Which database a URL names."""

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from projector.mirror.target import Target, Unsuitable

FORMS = "sqlite:///./app.db, mysql://user:password@host/database or postgresql://user:password@host/database"


def target_of(text: str) -> Target:
    """The target of a URL. Raises Unsuitable."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise Unsuitable(f"the URL of a mirror is {FORMS}") from None
    if "@" in (url.host or ""):
        raise Unsuitable("the URL has a second @: in a user or a password write %40 for @, %3A for : and %2F for /")
    match url.drivername.partition("+")[0]:
        case "sqlite":
            from projector.mirror.sqlite import SqliteTarget

            return SqliteTarget(url)
        case "mysql" | "mariadb":
            from projector.mirror.mysql import MysqlTarget

            return MysqlTarget(url)
        case "postgresql" | "postgres":
            from projector.mirror.postgres import PostgresTarget

            return PostgresTarget(url)
    raise Unsuitable(f"the URL of a mirror is {FORMS}")
