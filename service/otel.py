"""Traces with OpenTelemetry. service/tracing.py imports this if an OTLP endpoint is set, and not otherwise.

The middleware decides whether to record a request before it touches the SDK: a request that is not recorded costs one
random number. A trace goes from the request to each projection that has shown its events: the worker finds the trace in
the metadata of the events.
"""

import random
import threading
import time
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from psycopg import Connection
from starlette.types import ASGIApp, Receive, Scope, Send

from contract.observation import observation_of, path_shown, route_of
from eventlog import causes
from projector.loop import Progress
from service.version import VERSION

QUEUE_SPANS_MAX = 2_048  # when more wait for the collector, further ones are dropped
EXPORT_SECONDS_MAX = 2
STOP_SECONDS_MAX = 3
# Links of the span of a batch, and requests whose traces it continues.
REQUESTS_MAX = 32
# A worker that catches up with older events continues no traces: no request waits for them.
OLD_SECONDS = 60

_W3C = TraceContextTextMapPropagator()
_NANO = 1_000_000_000


class Traces:
    """Records spans and sends them to a collector from a thread of its own. It never blocks a request."""

    def __init__(self, endpoint: str, sampled: float, service: str) -> None:
        self._sampled = sampled
        url = endpoint if urlsplit(endpoint).path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"
        resource = Resource.create({"service.name": service, "service.version": VERSION})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_SECONDS_MAX)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, QUEUE_SPANS_MAX, schedule_delay_millis=1_000))
        self.tracer: Tracer = self._provider.get_tracer("orders")

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, with the requests of recorded traces recorded, and a share of all others.

        The application observes its requests. It finds the ids of the trace and of its span as `trace` in the scope.
        """

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                # The header of W3C Trace Context.
                sent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
                parent = _context(sent.decode("latin-1")) if sent else None
                if parent.trace_flags.sampled if parent else random.random() < self._sampled:  # noqa: S311 - no secret
                    await self._record(app, parent, scope, receive, send)
                    return
            await app(scope, receive, send)

        return traced

    async def _record(
        self, app: ASGIApp, parent: SpanContext | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        context = set_span_in_context(NonRecordingSpan(parent)) if parent else None
        span = self.tracer.start_span(scope["method"], context, SpanKind.SERVER)
        # The events keep this span as their parent.
        scope["headers"] = [it for it in scope["headers"] if it[0] != b"traceparent"]
        own = span.get_span_context()
        scope["headers"].append((b"traceparent", f"00-{own.trace_id:032x}-{own.span_id:016x}-01".encode()))
        scope["trace"] = own.trace_id, own.span_id
        try:
            await app(scope, receive, send)
        finally:
            seen = observation_of(scope)
            status = seen.status or 500  # a request that was cancelled has none
            route = route_of(scope) or ""
            span.update_name(f"{scope['method']} {route}".strip())
            facts = {
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                "url.path": path_shown(scope["raw_path"]),
                "orders.request_id": seen.request_id.decode(),
                "orders.command": seen.command,
                "orders.outcome": seen.outcome,
                "orders.code": seen.code,
                "orders.position": seen.position,
            }
            span.set_attributes({name: value for name, value in facts.items() if value is not None})
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            span.end()

    def projected(self, connection: Connection, projection: str, progress: Progress) -> None:
        """Continue the traces of requests up to the commit of a batch, which was just now. Raises psycopg.Error."""
        first = progress.position - progress.events
        found = causes.of(connection, first, progress.position, REQUESTS_MAX, traced=True)
        now = time.time_ns()
        # A command with several events continues its trace once.
        parents = {
            it.traceparent: (context, it)
            for it in found
            if now / _NANO - it.recorded_at < OLD_SECONDS and (context := _context(it.traceparent or ""))
        }
        if not parents:
            return
        seconds = progress.fold_seconds + progress.write_seconds + progress.commit_seconds
        # A batch belongs to many requests, so it has a trace of its own that links to them.
        links = [Link(context) for context, _ in parents.values()]
        batch = self.tracer.start_span(
            f"project batch {projection}", links=links, start_time=now - int(seconds * _NANO)
        )
        batch.set_attributes({"orders.projection": projection, "orders.events": progress.events})
        batch.end(now)
        to_batch = [Link(batch.get_span_context())]
        for context, cause in parents.values():
            parent = set_span_in_context(NonRecordingSpan(context))
            began = int(cause.recorded_at * _NANO)
            span = self.tracer.start_span(f"project {projection}", parent, links=to_batch, start_time=began)
            span.set_attributes({"orders.projection": projection, "orders.position": cause.position})
            if cause.request_id:
                span.set_attribute("orders.request_id", cause.request_id)
            span.end(now)

    def stop(self) -> None:
        """Send what is left, but wait no longer than STOP_SECONDS_MAX for a collector that does not answer."""
        stopping = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        stopping.start()
        stopping.join(STOP_SECONDS_MAX)


def _context(traceparent: str) -> SpanContext | None:
    """The span that the header names; None if it is not valid."""
    context = get_current_span(_W3C.extract({"traceparent": traceparent})).get_span_context()
    return context if context.is_valid else None
