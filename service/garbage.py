"""Python's collector of garbage, for processes whose many objects live long and are seldom in cycles."""

import gc

# Python's own thresholds cost a fold and an order over HTTP more than a tenth of their CPU time: change them here, and
# compare `python -m bench mirror replay write` before and after.
THRESHOLDS = (50_000, 20, 50)


def collect_seldom() -> None:
    """Leave out all objects that exist now, and look less often at those that come."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
