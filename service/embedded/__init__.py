"""Real PostgreSQL and Valkey servers from wheels, for `orders up` and the tests.

The wheels bring the programs; starting, stopping and cleaning up after a crash is done here, because what they bring
for that changes the permissions of parent directories and keeps lists of process ids. A data directory has the data in
`postgres/` and `valkey/`, what the servers say in `postgres.log` and `valkey.log`, and `locks/`.

PostgreSQL listens on a unix socket in its directory only: it needs no free port, its URL is the same at every start,
and the directory's permissions keep other users of the machine out, so it needs no password. The URL is libpq's own
form: psql, psycopg and SQLAlchemy take it. Valkey listens on 127.0.0.1, because `redis://` has no form for sockets.
"""

from service.embedded.postgres import PostgresServer
from service.embedded.programs import postgres_program, valkey_program
from service.embedded.valkey import ValkeyServer

__all__ = ["PostgresServer", "ValkeyServer", "postgres_program", "valkey_program"]
