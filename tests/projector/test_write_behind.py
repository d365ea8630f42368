import pytest

from projector.write_behind import WriteBehind


def test_whoever_waits_hears_why_it_was_not_written() -> None:
    def refused() -> None:
        raise LookupError

    with WriteBehind() as behind:
        behind.start(refused)
        with pytest.raises(LookupError):
            behind.wait()
        behind.wait()  # once is enough
