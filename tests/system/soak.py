"""`make soak`: half of what saturates, for long, and nothing grows; then three times that, and it holds and recovers.

Prints a table, and fails when memory, latency, descriptors or connections are not flat, when less than 80 % of the peak
gets through an overload, when refusals are slow or do not say when to come back, or when it is not over soon after.
What a machine does in a second changes within minutes, so an overload is judged by the peaks right before and after.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.system.load import Load, Seen, percentile
from tests.system.stack import Stack
from tests.system.weighing import descriptors, resident_bytes, session_bytes

SECONDS, OVERLOAD_SECONDS = 1_800, 120
SAMPLES_MIN = 6
PEAK_SECONDS, CLIENTS = 20, 256  # fewer do not saturate it, and of 512 it refuses some
CONNECTIONS_MAX = 3_500  # more than the writer's queue has room for
RECOVERY_SECONDS = 5
CATCH_UP_SECONDS_MAX = 60

OFFERED_OF_PEAK_MIN = 2.8  # of 3
GOODPUT_OF_PEAK_MIN = 0.8
REFUSED_MS_MAX = 50  # for 19 of 20
# From the first third of the samples to the last. Less is noise, and allocators that keep a little more.
GROWTH_BYTES_MAX = 24 * 1024 * 1024
GROWTH_OF_BYTES_MAX = 1.15
GROWTH_OF_P99_MAX, P99_MS_ALLOWED = 2.0, 25
MORE_DESCRIPTORS_MAX = 4


@dataclass
class Sample:
    """What was seen in a minute, and what was held at its end."""

    seen: Seen
    api_bytes: int
    worker_bytes: int
    descriptors: int  # but for those of the load's connections
    connections: int

    @property
    def p99(self) -> float:
        return percentile(self.seen.accepted_ms, 99)


@dataclass
class Verdict:
    """What was wrong."""

    complaints: list[str] = field(default_factory=list)

    def expect(self, is_so: bool, complaint: str) -> None:
        if not is_so:
            self.complaints.append(complaint)


def main() -> int:
    """Soak, and say what was wrong: 0 when nothing was."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--overload-seconds", type=float, default=OVERLOAD_SECONDS)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orders-soak-") as directory:
        complaints = soak(Path(directory), given.seconds, given.overload_seconds, given.seed)
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    return 1 if complaints else 0


def soak(directory: Path, seconds: float, overload_seconds: float, seed: int) -> list[str]:
    """Run it in `directory`; returns what was wrong."""
    with Stack(directory, environment={"LOG_LEVEL": "warning"}) as stack:
        load = Load(stack.urls[0], seed)
        load.prepare()
        verdict = Verdict()
        # The collector would look through all that was measured so far, and the service would seem to stall.
        gc.disable()
        try:
            uvloop.run(_soak(stack, load, seconds, overload_seconds, verdict))
        finally:
            gc.enable()
        stack.wait_until_caught_up(CATCH_UP_SECONDS_MAX)
        verdict.expect(stack.run("verify").returncode == 0, "the read tables are not the fold of the log")
        verdict.expect("Traceback" not in stack.apis[0].log + stack.workers[0].log, "there are tracebacks in the logs")
    return verdict.complaints


async def _soak(stack: Stack, load: Load, seconds: float, overload_seconds: float, verdict: Verdict) -> None:
    peak = await _peak(load)
    print(f"peak {peak:,.0f} requests/s; half of it for {seconds:.0f} s")
    print(
        f"{'s':>6} {'req/s':>7} {'p50 ms':>7} {'p99 ms':>7} {'API MiB':>8} {'worker MiB':>10} {'fds':>5} {'conns':>5}"
    )
    each = min(60.0, seconds / SAMPLES_MIN)
    samples = []
    for number in range(round(seconds / each)):
        samples.append(_sample(stack, load, await load.at_rate(peak / 2, each, CONNECTIONS_MAX)))
        _show(round((number + 1) * each), samples[-1])
    _judge_flat(samples, verdict)
    await _overload(load, overload_seconds, statistics.median(it.p99 for it in samples), verdict)
    load.close()


async def _peak(load: Load) -> float:
    """Requests a second, as many as get done."""
    return (await load.at_full_speed(PEAK_SECONDS, CLIENTS)).goodput


async def _overload(load: Load, seconds: float, usual_p99: float, verdict: Verdict) -> None:
    before = await _peak(load)
    over = await load.at_rate(3 * before, seconds, CONNECTIONS_MAX)
    await asyncio.sleep(RECOVERY_SECONDS)
    recovered = await load.at_rate(before / 2, min(10.0, seconds), CONNECTIONS_MAX)
    after = await _peak(load)
    peak = (before + after) / 2
    p50, p95, p99 = (percentile(over.refused_ms, percent) for percent in (50, 95, 99))
    recovered_p99 = percentile(recovered.accepted_ms, 99)
    offered = (len(over.accepted_ms) + len(over.refused_ms)) / over.seconds
    print(
        f"overload, {offered:,.0f} requests/s of {3 * before:,.0f} sent: {over.goodput:,.0f}/s accepted, "
        f"{over.goodput / peak:.0%} of the peak ({before:,.0f} before, {after:,.0f} after), "
        f"in p99 {percentile(over.accepted_ms, 99):.0f} ms; "
        f"{len(over.refused_ms):,} refused, p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms\n"
        f"{RECOVERY_SECONDS} s later: p99 {recovered_p99:.0f} ms, {len(recovered.refused_ms)} refused"
    )
    verdict.expect(offered >= OFFERED_OF_PEAK_MIN * before, f"only {offered:,.0f} requests/s were sent")
    verdict.expect(over.goodput >= GOODPUT_OF_PEAK_MIN * peak, f"goodput {over.goodput:,.0f}/s of {peak:,.0f}/s")
    verdict.expect(p95 < REFUSED_MS_MAX, f"of the refusals, one of twenty took {p95:.0f} ms")
    verdict.expect(not over.refusals_without_retry_after, "refusals do not say when to come back")
    verdict.expect(not over.failed, f"under overload: {dict(over.failed)}")
    verdict.expect(not recovered.refused_ms and not recovered.failed, "it refuses after the overload is over")
    verdict.expect(
        recovered_p99 < GROWTH_OF_P99_MAX * usual_p99 + P99_MS_ALLOWED,
        f"p99 {recovered_p99:.0f} ms after {usual_p99:.0f} before",
    )


def _sample(stack: Stack, load: Load, seen: Seen) -> Sample:
    api, worker = stack.apis[0].pid, stack.workers[0].pid
    ((connections,),) = stack.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    held = descriptors(api) - load.connections
    return Sample(seen, resident_bytes(api), session_bytes(worker), held, int(str(connections)))


def _show(second: int, sample: Sample) -> None:
    seen, mib = sample.seen, 1024 * 1024
    print(
        f"{second:>6} {seen.goodput:>7,.0f} {percentile(seen.accepted_ms, 50):>7.1f} {sample.p99:>7.1f} "
        f"{sample.api_bytes / mib:>8.1f} {sample.worker_bytes / mib:>10.1f} "
        f"{sample.descriptors:>5} {sample.connections:>5}",
        flush=True,
    )


def _judge_flat(samples: list[Sample], verdict: Verdict) -> None:
    """The last third beside the first, without the very first sample: it fills the caches."""
    third = max(1, len(samples) // 3)
    first, last = samples[1 : 1 + third], samples[-third:]
    for name in ("api_bytes", "worker_bytes"):
        before, after = (statistics.median(getattr(it, name) for it in these) for these in (first, last))
        allowed = max(before * GROWTH_OF_BYTES_MAX, before + GROWTH_BYTES_MAX)
        verdict.expect(after <= allowed, f"{name} grew from {before:,.0f} to {after:,.0f}")
    before, after = (statistics.median(it.p99 for it in these) for these in (first, last))
    allowed = before * GROWTH_OF_P99_MAX + P99_MS_ALLOWED
    verdict.expect(after <= allowed, f"p99 grew from {before:.1f} to {after:.1f} ms")
    more = last[-1].descriptors - first[0].descriptors
    verdict.expect(more <= MORE_DESCRIPTORS_MAX, f"{more} descriptors more")
    more = last[-1].connections - first[0].connections
    verdict.expect(more <= 2, f"{more} connections to the database more")
    failed = sum((it.seen.failed for it in samples), start=Counter[str]())
    verdict.expect(not failed, f"requests failed: {dict(failed)}")
    verdict.expect(not any(it.seen.refused_ms for it in samples), "requests were refused at half of the peak")


if __name__ == "__main__":
    sys.exit(main())
