"""New ids: UUIDv7 (RFC 9562, 5.7), which sort by the millisecond they were made in and so keep indexes compact."""

import time
from random import getrandbits


def new_id() -> str:
    milliseconds = time.time_ns() // 1_000_000
    # Unique is enough, unguessable need not be: a system call for random bytes would cost more than all the rest.
    high, low = getrandbits(12), getrandbits(62)
    value = milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
