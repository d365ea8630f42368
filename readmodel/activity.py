"""The table of the projection `activity`. It finds a time or an event type in a long log without an index there."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from readmodel.base import read_metadata, table_of
from readmodel.types import TIME


class Base(DeclarativeBase):
    metadata = read_metadata("activity", 1, "when which events came; a fold of the log")


class EventsPerMinute(Base):
    """The events of a type that were appended in a minute, and the positions between which they are."""

    __tablename__ = "events_per_minute"
    __table_args__ = {"comment": "appended events by minute (UTC) and type"}

    minute: Mapped[datetime] = mapped_column(TIME, primary_key=True, comment="in which they were appended, in UTC")
    type: Mapped[str] = mapped_column(Text, primary_key=True, comment="such as OrderPlaced")
    events: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="how many")
    first_position: Mapped[int] = mapped_column(BigInteger, comment="of the first of them in the log")
    last_position: Mapped[int] = mapped_column(BigInteger, comment="of the last of them in the log")


events_per_minute = table_of(EventsPerMinute)

# Finds the minutes in which a rare type was appended; the primary key begins with the minute.
Index("events_per_minute_type_idx", events_per_minute.c.type, events_per_minute.c.minute)
