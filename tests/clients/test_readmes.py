"""A newcomer types what a client's README shows, and sees what it says: a new project, the client in it, an order."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.languages import LANGUAGES, TypeScript, has_node
from tests.docs.walking import API, ROOT, blocks, running

SECONDS_MAX = 180
SAVED_AS = re.compile(r"^Save this.* as `([^`]+)`:$", re.MULTILINE)


def typed(readme: str, block: str, url: str) -> str:
    """The README as a shell script that types its commands and saves its example."""
    (name,) = SAVED_AS.findall(readme)
    script = ["set -e"]
    for language, content in blocks(readme):
        if language == "sh":
            script.append(content)
        elif language == block:
            script.append(f"cat > {name} <<'END'\n{content.replace(API, url)}END")
    return "\n".join(script)


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_steps_of_the_readme_work_as_printed(
    name: str, database_url: str, redis_url: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    language = LANGUAGES[name]()
    if isinstance(language, TypeScript) and not has_node() and not os.environ.get("CI"):
        pytest.skip("no Node.js with npm")
    readme = (language.folder / "README.md").read_text()
    ((_, printed),) = blocks(readme, "text")
    checkout, home = tmp_path / "orders", tmp_path / "home"
    (checkout / "data").mkdir(parents=True)
    home.mkdir()
    for entry in ROOT.iterdir():
        if entry.name != "data":
            (checkout / entry.name).symlink_to(entry)
    with running(database_url, redis_url, tmp_path_factory.mktemp("service")) as api:
        (checkout / "data" / "api.key").write_text(api.key_file.read_text())
        done = subprocess.run(
            ["bash", "-c", typed(readme, language.block, api.url)],
            cwd=checkout,
            env=os.environ | {"HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(printed), done.stdout
