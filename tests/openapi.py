"""The commands of the shop, as openapi.json has them: tests that list commands compare their lists with it."""

import json
from pathlib import Path
from typing import Any

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "openapi.json").read_text())
# Method and path, e.g. ("POST", "/orders/{id}/cancel"). Commands are what can be tried with `?dry_run=true`.
COMMANDS = sorted(
    (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if operation.get("x-dry-run")
)
# For each command by POST, a text of its body: with another one it is another request.
TEXTS = {
    "/users": "name",
    "/products": "name",
    "/products/{id}/stock": "reason",
    "/orders": "note",
    "/orders/{id}/cancel": "reason",
}
