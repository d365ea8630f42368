"""What tests leave to chance can be repeated."""

import os
import time


def chosen_seed() -> int:
    """ORDERS_TEST_SEED, or another each time. It is printed, and pytest shows it when the test fails."""
    seed = int(os.environ.get("ORDERS_TEST_SEED") or time.time())
    print(f"ORDERS_TEST_SEED={seed}")
    return seed
