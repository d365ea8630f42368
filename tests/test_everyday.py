"""The everyday suite leaves out only tests that exist, and none that a guard needs."""

import pytest

from tests.everyday import LEFT_TO_CI, why_left_out
from tests.guards.breaking import ROOT
from tests.guards.guards import GUARDS


@pytest.mark.parametrize("beginning", LEFT_TO_CI)
def test_each_entry_left_to_ci_names_existing_tests(beginning: str) -> None:
    file, _, name = beginning.partition("::")
    assert (ROOT / file).exists()
    assert not name or f"def {name.partition('[')[0]}" in (ROOT / file).read_text()


def test_the_everyday_suite_has_every_test_of_a_guard() -> None:
    assert [test for guard in GUARDS for test in guard.tests if why_left_out(test)] == []
