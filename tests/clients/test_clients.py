"""The generated clients compile in strict mode and work against the service, and their READMEs' examples run."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.faulty_proxy import RETRY_AFTER_SECONDS, FaultyProxy, faulty
from tests.clients.languages import LANGUAGES, Language, succeed
from tests.docs.walking import API, blocks, running

HERE = Path(__file__).parent
README_LINES_MAX = 70
STEPS = [
    "registers a user",
    "adds a product",
    "places an order with a key",
    "gets the first answer when it repeats the order",
    "reads the order that it has just placed",
    "pages through a list",
    "filters by time",
    "meets a typed refusal that names the lines",
    "cancels one line, then the rest",
    "reads events by their types",
    "comes back as late as Retry-After asks",
    "repeats a command with one key when the answer is lost",
    "carries the Sync-Token of a command to a read, and repeats the read",
    "does not repeat a change with If-Match when the answer is lost",
    "returns the problem when it has no more tries or time",
    "raises when a proxy answers with an error of its own",
]


@pytest.fixture(scope="module")
def api(module_database_url: str, module_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an API with a worker."""
    with running(module_database_url, module_redis_url, tmp_path_factory.mktemp("service"), NO_AUTH="1") as served:
        yield served.url


@dataclass
class Scripts:
    """A client that is built, and the scripts that use it."""

    language: Language
    walk: Path
    example: Path
    prints: str  # what the README says that the example prints
    checked: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module", params=LANGUAGES)
def scripts(request: pytest.FixtureRequest, api: str, tmp_path_factory: pytest.TempPathFactory) -> Scripts:
    language = LANGUAGES[request.param]()
    place = tmp_path_factory.mktemp(request.param)
    language.build(place)
    walk, example = place / f"walk{language.suffix}", place / f"example{language.suffix}"
    shutil.copy(HERE / walk.name, walk)
    parts = blocks((language.folder / "README.md").read_text())
    (code,) = [content for block, content in parts if block == language.block]
    (prints,) = [content for block, content in parts if block == "text"]
    assert API in code
    # The service under test asks for no key.
    example.write_text(code.replace(API, api).replace('Path("data/api.key").read_text().strip()', '"none"'))
    return Scripts(language, walk, example, prints, language.check_types(walk, example))


@dataclass
class Walked:
    """What the walk printed, and the proxies that it went through."""

    done: subprocess.CompletedProcess[str]
    refusing: FaultyProxy
    cutting: FaultyProxy


@pytest.fixture(scope="module")
def walked(scripts: Scripts, api: str) -> Iterator[Walked]:
    with faulty(api, "refuse") as refusing, faulty(api, "cut") as cutting:
        yield Walked(scripts.language.run(scripts.walk, api, refusing.url, cutting.url), refusing, cutting)


def test_the_client_and_its_callers_have_no_type_error(scripts: Scripts) -> None:
    """The walks misspell a member on purpose; its comment is an error where the type checker does not notice."""
    succeed(scripts.checked)


@pytest.mark.parametrize("step", STEPS)
def test_a_caller_of_the_client(step: str, walked: Walked) -> None:
    assert step in walked.done.stdout.splitlines(), walked.done.stdout + walked.done.stderr


def test_a_walk_ends_without_a_fault(walked: Walked) -> None:
    assert (walked.done.returncode, walked.done.stderr) == (0, "")


def test_all_tries_of_a_refused_command_have_one_key_and_wait(walked: Walked) -> None:
    first, second = walked.refusing.tries_of("refused")
    assert first.key
    assert first.key == second.key
    assert RETRY_AFTER_SECONDS <= second.at - first.at < 3 * RETRY_AFTER_SECONDS


def test_all_tries_of_a_command_whose_answer_is_lost_have_one_key(walked: Walked) -> None:
    first, second = walked.cutting.tries_of("cut")
    assert first.key
    assert first.key == second.key
    assert len([it for it in walked.cutting.tries if it.method == "PUT"]) == 1


def test_all_tries_of_a_read_carry_the_sync_token_of_the_command_before_it(walked: Walked) -> None:
    first, second = [it.sync_token for it in walked.cutting.tries if it.method == "GET"]
    assert first
    assert first == second


def test_the_example_of_the_readme_prints_its_documented_output(scripts: Scripts) -> None:
    assert succeed(scripts.language.run(scripts.example)) == scripts.prints
    assert len((scripts.language.folder / "README.md").read_text().splitlines()) <= README_LINES_MAX
