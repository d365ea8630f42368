"""What an error of Redis means to an operator, in one line without the arguments of a command; and what to do.

Redis's own words vary with its release, its fork and redis-py, so a few of them decide.
"""

import re
from typing import NamedTuple

import redis


class Fault(NamedTuple):
    """`what` follows the word Redis. `words` are the error's own when nothing was reached: they may name hosts."""

    what: str
    remedy: str
    words: str = ""

    @property
    def happened(self) -> str:
        return f"Redis {self.what}" + (f" ({self.words})" if self.words else "")

    def __str__(self) -> str:
        return f"{self.happened}; {self.remedy}"


# Redis quotes the arguments of a command that it does not know, and redis-py the place in a script that failed.
_ARGUMENTS = re.compile(r", with args beginning with| script: on |\. |\n")

# In the class or the words of an error. The first that fits counts.
_REMEDIES = (
    (
        "NoPermission|ACL failure|NOPERM|No permissions",
        "give its user the rights that docs/deploying.md lists (ACL SETUSER)",
    ),
    ("ReadOnly|READONLY|MasterDown|MASTERDOWN", "lead REDIS_URL to the primary"),
    ("OutOfMemory|OOM|maxmemory", "raise maxmemory, or give the service a Redis of its own: it needs a few MiB"),
    ("MISCONF", "make room on its disk (its log names the fault)"),
    ("NOREPLICAS", "start its replicas, or lower min-replicas-to-write"),
    (
        "[Mm]oved|MOVED|AskError|Cluster|cluster|CROSSSLOT|Script attempted to access",
        "lead REDIS_URL to a Redis that is no node of a cluster",
    ),
    ("DB index", "lower the number at the end of REDIS_URL, or raise `databases` in the configuration of Redis"),
    ("nknown.*command|NOPROTO|unknown subcommand", "take the command out of its rename-command"),
    ("max number of clients", "raise maxclients, or close connections that other programs keep"),
    ("BusyLoading|LOADING", "wait until it has loaded its data"),
    ("BUSY", "wait for the script that runs there, or end it with SCRIPT KILL"),
    ("WRONGTYPE", "another program uses the keys of ours: put another number at the end of REDIS_URL"),
    (
        "protected mode|DENIED",
        "set requirepass on it and the password in REDIS_URL, or let it listen on 127.0.0.1 alone",
    ),
)


def fault_of(error: Exception) -> Fault:
    """What a RedisError or OSError of redis-py means, and what to do."""
    words = " ".join(_ARGUMENTS.split(str(error), maxsplit=1)[0].split()).rstrip(".")
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthenticationWrongNumberOfArgsError):
        what = "rejects the user or the password of REDIS_URL"
        return Fault(what, "correct REDIS_URL: redis://user:password@host, or redis://:password@host")
    kind = f"{type(error).__name__} {error}"
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, kind):
            return Fault(f"rejects commands ({words})", remedy)
    if isinstance(error, redis.ResponseError):
        return Fault(f"rejects commands ({words})", "its log and `redis-cli INFO` say more")
    if isinstance(error, redis.TimeoutError) and "connecting" not in str(error):
        return Fault("takes connections but does not answer in time", "restart it: it hangs")
    remedy = "start it, or correct REDIS_URL (rediss:// if it takes TLS, and redis:// if not)"
    return Fault("cannot be reached", remedy, " ".join(str(error).split()).rstrip("."))
