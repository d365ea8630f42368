"""The list of guards is true: what it breaks is there, once, and the tests that it names are."""

import re

import pytest

from tests.guards.breaking import ROOT
from tests.guards.guards import GUARDS, Guard


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.what)
def test_the_text_that_a_guard_breaks_exists_once(guard: Guard) -> None:
    assert (ROOT / guard.file).read_text().count(guard.text) == 1
    assert guard.text != guard.broken


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.what)
def test_the_tests_that_are_to_fail_are_there(guard: Guard) -> None:
    for test in guard.tests:
        file, _, name = test.partition("::")
        assert re.search(rf"^(?:async )?def {name.partition('[')[0]}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_the_page_has_every_guard_and_no_other() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text().partition("## Every guard was broken once")[2]
    rows = re.findall(r"^\| (.*?) \| (`.*`) \|$", page, re.MULTILINE)
    assert rows == [(guard.what, ", ".join(f"`{test.partition('::')[2]}`" for test in guard.tests)) for guard in GUARDS]
