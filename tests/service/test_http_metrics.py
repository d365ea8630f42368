"""The metrics of requests are the same text as prometheus_client's own, and complete at each scrape."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from service.http.metrics import LATENCY_BUCKETS, HttpMetrics, new_registry

# A request that takes exactly as long as a bucket's limit belongs into that bucket.
SECONDS = (0.0, 0.0004, *LATENCY_BUCKETS, 0.0011, 4.9, 5.001, 60.0)


def lines(registry: CollectorRegistry) -> list[str]:
    return sorted(generate_latest(registry).decode().splitlines())


def test_the_figures_are_those_that_prometheus_client_counts() -> None:
    ours, theirs = new_registry(), new_registry()
    metrics = HttpMetrics(ours)
    requests = Counter("orders_http_requests", "requests", ["method", "route", "status"], registry=theirs)
    latency = Histogram(
        "orders_http_request_duration_seconds", "latency", ["method", "route"], buckets=LATENCY_BUCKETS, registry=theirs
    )
    for number, seconds in enumerate(SECONDS):
        status = 200 + number % 2 * 204
        metrics.observe("GET", '/orders/{"id"}', status, seconds)
        requests.labels("GET", '/orders/{"id"}', status).inc()
        latency.labels("GET", '/orders/{"id"}').observe(seconds)
    expected = [it for it in lines(theirs) if not it.startswith("# HELP")]
    assert [it for it in lines(ours) if not it.startswith("# HELP") and "in_flight" not in it] == expected


def test_a_method_that_a_route_lacks_is_counted_and_not_measured() -> None:
    registry = new_registry()
    HttpMetrics(registry).observe("BREW", None, 405, 0.001)
    told = [it for it in lines(registry) if not it.startswith("#") and "in_flight" not in it]
    assert told == ['orders_http_requests_total{method="other",route="unmatched",status="405"} 1.0']


def test_a_scrape_sees_the_requests_under_way() -> None:
    registry = new_registry()
    metrics = HttpMetrics(registry)
    metrics.in_flight += 2
    assert "orders_http_requests_in_flight 2.0" in lines(registry)
