"""Traces are optional: the code that records them is imported only where an OTLP endpoint is set."""

from typing import TYPE_CHECKING

from service.errors import MISUSE, OperatorError
from service.settings import Settings

if TYPE_CHECKING:
    from service.otel import Traces


def traces_of(settings: Settings, service: str) -> "Traces | None":
    """The traces of a process that calls itself `service`; None without an endpoint.

    Raises OperatorError when the extra `otel` is not installed.
    """
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is None:
        return None
    try:
        from service.otel import Traces
    except ModuleNotFoundError as error:
        missing = f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and the extra `otel` of orders is not installed: {error}"
        raise OperatorError(missing, exit_code=MISUSE) from None
    return Traces(endpoint, settings.otel_traces_sampler_arg, service)
