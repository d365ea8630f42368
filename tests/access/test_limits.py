"""The rate of an account, with a clock that the test moves."""

from access.limits import ACCOUNTS_MAX, Rate


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    now = [0.0]
    rate = Rate("writes", 60, 10, lambda: now[0])
    assert [rate.take("ada") for _ in range(10)] == [0.0] * 10
    assert rate.take("ada") == 1.0
    assert rate.take("bob") == 0.0
    assert rate.state("ada") == b'"writes";r=0;t=10'
    now[0] = 1.0
    assert rate.take("ada") == 0.0
    assert rate.take("ada") == 1.0
    now[0] = 1_000.0
    assert [rate.take("ada") for _ in range(10)] == [0.0] * 10
    assert rate.take("ada") > 0


def test_in_an_hour_no_more_pass_than_the_rate_and_one_burst() -> None:
    now = [0.0]
    rate = Rate("writes", 600, 100, lambda: now[0])
    passed = 0
    for step in range(36_000):
        now[0] = step / 10
        passed += sum(rate.take("ada") == 0.0 for _ in range(3))
    assert 36_000 <= passed <= 36_100


def test_zero_is_no_limit() -> None:
    rate = Rate("reads", 0, 0, lambda: 0.0)
    assert not any(rate.take("ada") for _ in range(10_000))


def test_memory_does_not_grow_with_the_accounts() -> None:
    now = [0.0]
    rate = Rate("failures", 30, 30, lambda: now[0])
    for number in range(3 * ACCOUNTS_MAX):
        now[0] += 0.001
        rate.take(str(number))
    assert rate.accounts <= ACCOUNTS_MAX
