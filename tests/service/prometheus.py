"""Debian's prometheus and promtool, for tests; they are skipped without them, but fail where CI is set."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.system.stack import free_port

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"


def _needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None and not os.environ.get("CI"),
        reason=f"{program} is not installed: apt-get install prometheus",
    )


PROMTOOL, PROMETHEUS = _needs("promtool"), _needs("prometheus")


def promtool(*arguments: str | Path, given: bytes | None = None) -> str:
    """Run promtool. Returns its output; fails the test when promtool fails."""
    program = shutil.which("promtool")
    assert program, "promtool is not installed, and CI is set"
    done = subprocess.run([program, *arguments], capture_output=True, check=False, input=given)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


@contextlib.contextmanager
def prometheus(place: Path, targets: Mapping[str, str], rules: str, key: str) -> Iterator[str]:
    """A Prometheus with the configuration of deploy/, but a shorter interval. Yields its URL.

    `targets` are the addresses by job, `rules` the text of alerts.yml, and `key` is the API key that it shows.
    """
    program = shutil.which("prometheus")
    assert program, "prometheus is not installed, and CI is set"
    configuration = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in configuration["scrape_configs"]:
        if authorization := job.get("authorization"):
            authorization["credentials_file"] = str(place / "key")
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    (place / "key").write_text(key)
    (place / "alerts.yml").write_text(rules)
    (place / "prometheus.yml").write_text(json.dumps(configuration))
    port = free_port()
    options = [f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data"]
    with (place / "prometheus.log").open("wb") as log:
        command = [program, *options, f"--web.listen-address=127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
