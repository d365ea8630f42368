"""The worker process: `dramatiq service.worker:setup`, which `orders work` runs."""

import gc

import dramatiq

from projector import bell
from projector.worker import Projectors, set_up
from service import logs
from service.errors import OperatorError
from service.lifeline import die_with_parent
from service.projections import PROJECTIONS
from service.settings import Settings

GC_THRESHOLD = 100_000


def setup() -> None:
    """Give Dramatiq a broker whose workers project; it calls this in every process that it starts."""
    settings = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    if settings.database_url is None or settings.redis_url is None:
        raise OperatorError("DATABASE_URL and REDIS_URL must be set: `orders work` does that", exit_code=2)
    die_with_parent()
    # Parked streams stay in memory. With 10,000 of them and Python's own threshold, large batches take Python twice as
    # long as without any; with this one 1.4 times. It makes no difference to a replay, so nothing is set there.
    gc.set_threshold(GC_THRESHOLD)
    broker = bell.broker(settings.redis_url)
    dramatiq.set_broker(broker)
    rebuild = settings.rebuild == "auto"
    set_up(broker, Projectors(settings.database_url, PROJECTIONS, settings.redis_url, rebuild=rebuild))
