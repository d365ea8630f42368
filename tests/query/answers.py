"""Looking at answers."""

from typing import Any

import httpx

ROWS_MAX = 1_000


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem; the rest of the document is checked on the way."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"] == f"/problems/{document['code']}"
    assert document["title"]
    assert document["detail"]
    return answer.status_code, document["code"]


def version_in(answer: httpx.Response) -> int:
    """The version in the ETag of a read."""
    return int(answer.headers["etag"].strip('"').partition(".")[0])


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [resource["id"] for resource in answer.json()["data"]]


async def walk(api: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    """Everything that a list has, page by page along its Link headers."""
    found: list[dict[str, Any]] = []
    link: str | None = url
    while link is not None:
        assert len(found) < ROWS_MAX, "this list has no end"
        answer = await api.get(link)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["data"]
        link = answer.links.get("next", {}).get("url")
        assert (page["next"] is None) == (link is None)
    return found
