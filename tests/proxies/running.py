"""Real proxies as child processes, with the configurations of deploy/, only their addresses replaced."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builders import wait_until
from tests.system.stack import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs/behind-a-proxy.md"
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 10
# Debian keeps servers there, where a user's PATH does not lead.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])

Texts = Mapping[str, str]


class Proxy(NamedTuple):
    """A program, its file in deploy/, what an address replaces in that file, and how the program starts in a place."""

    program: str
    file: str
    addresses: Callable[[int, int], Texts]  # from the port to listen on and the API's port
    command: Callable[[Path, Path, int], list[str]]  # from its file, an empty directory and the port to listen on
    environment: Callable[[str, int], Texts] = lambda url, api: {}  # from its URL and the API's port


def _nginx(file: Path, place: Path, port: int) -> list[str]:
    """Run it with a main file, as Debian has one, that includes ours."""
    kept = "".join(f"{kind}_temp_path {kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""
    main = place / "main.conf"
    main.write_text(
        f"{user}daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{kept}include {file};\n}}\n"
    )
    return ["-p", str(place), "-e", "stderr", "-c", str(main)]


def _varnish(file: Path, place: Path, port: int) -> list[str]:
    """Run it with the parameters that the file names."""
    (documented,) = re.findall(r"^# varnishd (.*)$", file.read_text(), re.MULTILINE) or [""]
    words = shlex.split(documented)
    parameters = [word for at, word in enumerate(words) if "-p" in {word, words[at - 1]}]
    here = ["-F", "-j", "none", "-n", str(place / "varnish"), "-s", "malloc,16m", "-T", "none", "-S", "none"]
    return [*here, "-a", f"127.0.0.1:{port}", "-f", str(file), *parameters]


PROXIES = {
    "nginx": Proxy(
        "nginx",
        "nginx.conf",
        lambda port, api: {"listen 80;": f"listen 127.0.0.1:{port};", "127.0.0.1:8000": f"127.0.0.1:{api}"},
        _nginx,
    ),
    "haproxy": Proxy(
        "haproxy",
        "haproxy.cfg",
        lambda port, api: {"bind :80": f"bind 127.0.0.1:{port}", "127.0.0.1:8000": f"127.0.0.1:{api}"},
        lambda file, place, port: ["-db", "-f", str(file)],
    ),
    "caddy": Proxy(
        "caddy",
        "Caddyfile",
        lambda port, api: {},
        lambda file, place, port: ["run", "--adapter", "caddyfile", "--config", str(file)],
        lambda url, api: {"SITE": url, "API": f"127.0.0.1:{api}", "CADDY_ADMIN": "off"},
    ),
    "varnish": Proxy("varnishd", "varnish.vcl", lambda port, api: {'"8000"': f'"{api}"'}, _varnish),
}


def replaced(text: str, replacements: Texts) -> str:
    """The text with each of these replaced. Each must be there."""
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def under_a_path(name: str) -> Texts:
    """What docs/behind-a-proxy.md changes in a proxy's file to serve the API under /shop: the old lines and the new."""
    shown = rf"^`deploy/{re.escape(PROXIES[name].file)}`:\n\n```diff\n(.*?)^```$"
    (diff,) = re.findall(shown, PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [(line[:1], line[1:]) for line in diff.splitlines(keepends=True)]
    old, new = ("".join(text for mark, text in lines if mark != other) for other in "+-")
    return {old: new}


@contextlib.contextmanager
def running(
    name: str, api_url: str, place: Path, changes: Texts | None = None, scheme: str = "http", site: str | None = None
) -> Iterator[str]:
    """Run a proxy in front of an API; yields its URL. `changes` are replaced in its file. Skips without the program.

    `site`: the name that the proxy serves; None for the one in its URL.
    """
    proxy = PROXIES[name]
    program = shutil.which(proxy.program, path=_PATH)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"no {proxy.program}: install the package {name}")
        pytest.skip(f"no {proxy.program}")
    port, api_port = free_port(), int(api_url.rpartition(":")[2])
    url = f"{scheme}://{'localhost' if scheme == 'https' else '127.0.0.1'}:{port}"
    file = place / proxy.file
    file.write_text(replaced((DEPLOY / proxy.file).read_text(), {**(changes or {}), **proxy.addresses(port, api_port)}))
    command = [program, *proxy.command(file, place, port)]
    served = f"{scheme}://{site}:{port}" if site else url
    environment = {"PATH": _PATH, "HOME": str(place), **proxy.environment(served, api_port)}
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), START_SECONDS_MAX, name)
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        _stop(process)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
