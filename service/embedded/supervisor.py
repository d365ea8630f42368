"""`orders up`: PostgreSQL, Valkey, the API and the worker in one terminal, kept alive, stopped in order."""

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from urllib.request import ProxyHandler, build_opener

from access import links
from database.urls import forget_environment
from service import first_key
from service.cli import connect
from service.embedded import PostgresServer, ValkeyServer
from service.embedded.child import Child, say, say_bare
from service.embedded.locks import Lock
from service.embedded.server import EmbeddedServer
from service.errors import OperatorError
from service.http.listener import listen
from service.migrate import upgrade
from service.settings import Settings
from service.shown_settings import handed_on
from service.starting import refuse_unsafe

DEATHS_MAX = 5
DEATHS_SECONDS = 60
RESTART_SECONDS = 1  # between a death and the restart
LOOK_SECONDS = 0.1
LEFTOVER_SECONDS_MAX = 15  # a killed `up` leaves children that finish what they are doing
HEALTH_SECONDS_MAX = 1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Watched:
    """One of the things that are kept alive, and when it died lately."""

    def __init__(self, what: Child | EmbeddedServer) -> None:
        self.what = what
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._restart_at: float | None = None

    def look(self) -> None:
        """Restart it if it died a moment ago. Raises OperatorError when that does not help."""
        now = time.monotonic()
        if self._restart_at is not None and now >= self._restart_at:
            self._restart_at = None
            self.what.start()
        elif self._restart_at is None and not self.what.is_alive():
            self._deaths.append(now)
            if len(self._deaths) == DEATHS_MAX and now - self._deaths[0] < DEATHS_SECONDS:
                raise OperatorError(
                    f"{self.what.name} died {DEATHS_MAX} times in {DEATHS_SECONDS} s, giving up: its last lines say why"
                )
            say(f"{self.what.name} died, starting it again")
            self._restart_at = now + RESTART_SECONDS


class Supervisor:
    """Everything on the settings' data directory and port, until a signal to stop."""

    def __init__(self, settings: Settings, host: str) -> None:
        self._settings = settings
        self._host = host
        self._data_dir = settings.data_dir.absolute()
        self._postgres = PostgresServer(self._data_dir)
        self._valkey = ValkeyServer(self._data_dir)
        # Inherited by the children: held while any of them lives, even when this process was killed.
        self._children_lock = Lock(self._data_dir / "locks" / "children.running")
        self._children: list[Child] = []
        self._stop_asked = False

    def run(self) -> int:
        """Start everything, keep it running, stop it when asked to. Returns the exit code."""
        for number in STOP_SIGNALS:
            # A second signal does not interrupt the stop. A signal that nohup ignores stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP:
                signal.signal(number, self._ask_to_stop)
        try:
            self._start_servers()
            self._start_children()
            self._watch()
        finally:
            self._stop()
        return 0

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._stop_asked = True

    def _start_servers(self) -> None:
        if not self._children_lock.path.exists():
            # No `up` ran here yet, so a taken port is not ours: end before anything is made.
            listen(self._host, self._settings.port).close()
        forget_environment()
        self._postgres.claim()
        # Children of a killed `up` are still ending, and hold the port.
        if not self._children_lock.acquire(LEFTOVER_SECONDS_MAX):
            raise OperatorError(
                f"the API or the worker of an earlier `orders up` on {self._data_dir} still runs: end it by hand"
            )
        listen(self._host, self._settings.port).close()
        if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
            say("DATABASE_URL and REDIS_URL are set, but `orders up` uses servers of its own")
        self._postgres.start()
        self._valkey.start()
        refuse_unsafe(self._settings.model_copy(update={"database_url": self._postgres.url}))
        upgrade(self._postgres.url)
        if not self._settings.no_auth and first_key.ensure(self._postgres.url, self._data_dir):
            say(f"made an operator's API key: {self._data_dir / first_key.FILE_NAME}")

    def _start_children(self) -> None:
        if self._stop_asked:
            return
        environment = self._environment()
        for name, arguments in {"api": ["serve", "--host", self._host], "worker": ["work"]}.items():
            child = Child(name, arguments, environment, self._children_lock.descriptor)
            self._children.append(child)
            child.start()
        connect.announce(
            self._data_dir, database_url=self._postgres.url, redis_url=self._valkey.url, api_url=self._api_url
        )
        # Without the default port: an ampersand is a trap when the line is pasted into a shell.
        say_bare(f"DATABASE_URL={self._postgres.url.removesuffix('&port=5432')}")
        say_bare(f"REDIS_URL={self._valkey.url}")

    def _environment(self) -> dict[str, str]:
        """The children's environment: our settings, our servers, and no replica, whatever `.env` may say."""
        own = {
            "DATABASE_URL": self._postgres.url,
            "QUERY_DATABASE_URL": self._postgres.url,
            "REDIS_URL": self._valkey.url,
            "DATA_DIR": str(self._data_dir),
            "CONSOLE": "1",
            "SHUTDOWN_DELAY": "0",  # no load balancer stands before it, and Ctrl-C should be quick
            "PYTHONUNBUFFERED": "1",
        }
        return os.environ | handed_on(self._settings, **own)

    def _watch(self) -> None:
        watched = [Watched(self._postgres), Watched(self._valkey), *(Watched(child) for child in self._children)]
        announced = False
        while not self._stop_asked:
            for one in watched:
                one.look()
            if not announced and self._api_answers():
                announced = True
                say(f"ready: {self._api_url} (its documentation: {self._api_url}/docs); Ctrl-C stops everything")
                say(self._console())
            time.sleep(LOOK_SECONDS)

    def _console(self) -> str:
        """Where the console is, with a link that signs in once."""
        address = f"{self._api_url}/console/"
        if self._settings.no_auth:
            return f"console: {address}"
        minutes = f"{links.VALID_FOR.seconds // 60} minutes"
        token = first_key.link(self._postgres.url)
        return f"console: {address}sign-in?token={token} (signs in once, within {minutes}; later: orders keys link)"

    def _api_answers(self) -> bool:
        try:
            # Not through HTTP_PROXY, which leads to the API of another machine or to none.
            with build_opener(ProxyHandler({})).open(f"{self._api_url}/healthz", timeout=HEALTH_SECONDS_MAX):
                return True
        except OSError:
            return False

    @property
    def _api_url(self) -> str:
        name = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{'127.0.0.1' if name == '0.0.0.0' else name}:{self._settings.port}"  # noqa: S104

    def _stop(self) -> None:
        """Stop the children first, then what they use; a failure of one does not keep the others running."""
        if self._children:
            say("stopping")
        for child in self._children:
            child.ask_to_stop()
        steps: list[Callable[[], None]] = [child.stop for child in self._children]
        steps += [self._children_lock.release, self._valkey.stop, self._postgres.stop]
        with contextlib.ExitStack() as stack:
            for step in reversed(steps):
                stack.callback(step)
        if self._children:
            say(f"stopped; the data stays in {self._data_dir}")
