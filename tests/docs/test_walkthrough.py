"""What the documentation tells a reader to type works as printed, and prints what it says."""

import shutil
from pathlib import Path

import pytest

from tests.docs.walking import ROOT, blocks, check, run_orders, running, steps, text_of, walk

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the documentation's commands use curl")


@pytest.mark.parametrize("page", ["README.md", "docs/http.md"])
def test_the_commands_of_a_page_print_the_documented_output(
    page: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running(database_url, redis_url, tmp_path) as api:
        check(page, api)


def test_the_first_order_can_be_placed_again(database_url: str, redis_url: str, tmp_path: Path) -> None:
    wanted = steps(text_of("README.md"))
    with running(database_url, redis_url, tmp_path) as api:
        first = walk(wanted, api)
        again = walk(wanted, api)
    # The user is there, the sku is taken, the order and its cancellation are answered as before.
    assert again[1] == first[1]
    assert again[-1] == first[-1]


def test_the_made_up_shop_can_be_imported_rebuilt_and_verified(database_url: str, tmp_path: Path) -> None:
    commands = [
        line.removeprefix(".venv/bin/").split()
        for language, content in blocks(text_of("README.md"))
        for line in content.splitlines()
        if not language and line.startswith(".venv/bin/orders ")
    ]
    assert [command[1] for command in commands] == ["import", "status", "verify", "replay"]
    for command in commands:
        arguments = [str(ROOT / it) if it.startswith("tests/") else it for it in command[1:]]
        run_orders(arguments, database_url, tmp_path)
