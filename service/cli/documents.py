"""`orders openapi` and `orders sbom`: documents about the API, and about the packages that are installed here."""

from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from typing import Any

from service.cli import output
from service.version import VERSION

SPEC_VERSION = "1.6"  # https://cyclonedx.org/docs/1.6/json/


def openapi() -> None:
    """Print the OpenAPI document. It needs no server and no settings."""
    from service.app import create_app  # slow, with all that serves
    from service.settings import Settings

    # Never connected to: an application connects when it starts.
    settings = Settings.model_construct(
        database_url="postgresql://nowhere.invalid/orders", redis_url="redis://nowhere.invalid/0"
    )
    output.json(create_app(settings).openapi())


def sbom() -> None:
    """Print what is installed beside the service, with versions and licences, as CycloneDX (JSON)."""
    output.json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": SPEC_VERSION,
            "version": 1,
            "metadata": {"component": {"type": "application", "name": "orders", "version": VERSION}},
            "components": sorted(_components(), key=lambda it: (it["name"], it["version"])),
        }
    )


def _components() -> Iterator[dict[str, Any]]:
    seen = set()
    for package in distributions():
        name = str(package.metadata["Name"] or "").lower().replace("_", "-")
        if not name or name == "orders" or name in seen:
            continue
        seen.add(name)
        component = {
            "type": "library",
            "name": name,
            "version": package.version,
            "purl": f"pkg:pypi/{name}@{package.version}",
        }
        licence = _licence(package)
        yield component | ({"licenses": [{"license": {"name": licence}}]} if licence else {})


def _licence(package: Distribution) -> str | None:
    """The licence as the package declares it: as an expression, as a classifier, or as one line of text."""
    metadata = package.metadata.json
    if expression := metadata.get("license_expression"):
        return str(expression)
    named = [it.rpartition(" :: ")[2] for it in metadata.get("classifier", ()) if it.startswith("License ::")]
    text = str(metadata.get("license") or "").strip()
    return ", ".join(named) or (text if text and "\n" not in text else None)
