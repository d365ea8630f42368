"""The worker process: `dramatiq service.worker:setup`, which `orders work` runs."""

import dramatiq

from projector import bell
from projector.worker import Projector, set_up
from service import logs
from service.errors import OperatorError
from service.settings import Settings


def setup() -> None:
    """Give Dramatiq a broker whose workers project; it calls this in every process that it starts."""
    settings = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    if settings.database_url is None or settings.redis_url is None:
        raise OperatorError("DATABASE_URL and REDIS_URL must be set: `orders work` does that", exit_code=2)
    broker = bell.broker(settings.redis_url)
    dramatiq.set_broker(broker)
    set_up(broker, Projector(settings.database_url, bell.client(settings.redis_url)))
