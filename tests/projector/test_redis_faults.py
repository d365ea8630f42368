"""Errors of Redis that the servers of the tests cannot be brought to: each has its own remedy, in one line."""

import pytest
import redis
from redis import exceptions

from projector.redis_faults import fault_of


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            redis.AuthenticationError("HELLO must be called with the client already authenticated, otherwise"),
            "user:pass",
        ),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "wait until it has loaded"),
        (exceptions.MovedError("1234 10.0.0.7:6381"), "no node of a cluster"),
        (exceptions.ClusterDownError("The cluster is down"), "no node of a cluster"),
        (redis.ResponseError("MISCONF Valkey is configured to save RDB snapshots, but. Commands that"), "its disk"),
        (redis.ResponseError("BUSY Redis is busy running a script. You can only call SCRIPT KILL"), "SCRIPT KILL"),
        (exceptions.MasterDownError("Link with MASTER is down and replica-serve-stale-data is 'no'."), "the primary"),
        (redis.ResponseError("DENIED Redis is running in protected mode because.\r\nSolutions: 1)"), "requirepass"),
        (redis.ConnectionError("max number of clients reached"), "raise maxclients"),
        (redis.ResponseError("WRONGTYPE Operation against a key script: on @user_script:150."), "another number"),
        (redis.ResponseError("something new"), "its log"),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, Exception) else it,
)
def test_an_answer_of_redis_has_its_remedy(error: Exception, remedy: str) -> None:
    fault = fault_of(error)
    assert remedy in fault.remedy
    assert fault.what.startswith("rejects ")
    assert "; " not in fault.remedy, "the console shows what follows the last one as the remedy"
    assert not [it for it in ("\n", "script: on", "Solutions", "Commands that") if it in str(fault)]


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Error 111 connecting to 10.0.0.7:6379.\nConnection refused."),
        redis.TimeoutError("Timeout connecting to server"),
        exceptions.InvalidResponse("Protocol Error: b'\\x15\\x03'"),  # TLS is spoken there
        OSError("[SSL: WRONG_VERSION_NUMBER] wrong version number"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_redis_that_is_not_reached_names_its_address_to_operators_alone(error: Exception) -> None:
    fault = fault_of(error)
    assert fault.what == "cannot be reached"
    assert "rediss:// if it takes TLS" in fault.remedy
    assert str(error).split()[0] in fault.happened
    assert "\n" not in str(fault)


def test_a_redis_that_hangs_is_to_be_restarted() -> None:
    fault = fault_of(redis.TimeoutError("Timeout reading from socket"))
    assert fault.happened == "Redis takes connections but does not answer in time"
    assert fault.remedy.startswith("restart it")
