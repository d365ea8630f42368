import pytest

from command.domain.user import User
from eventlog.events import SCHEMA_VERSIONS, UserChanged
from eventlog.events.record import Record, replace


def test_no_field_of_a_record_can_be_assigned() -> None:
    event = UserChanged("Ada", None)
    with pytest.raises(AttributeError):
        event.name = "Bea"  # type: ignore[misc]
    assert replace(event, name="Bea") == UserChanged("Bea", None)
    assert event == UserChanged("Ada", None)


@pytest.mark.parametrize("cls", [*SCHEMA_VERSIONS, User])
def test_events_and_states_are_frozen_records(cls: type[Record]) -> None:
    assert issubclass(cls, Record)
    assert cls.__struct_config__.frozen
