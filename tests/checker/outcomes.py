"""Compare the answers that senders got with the log: nothing lost, nothing twice, nothing unsent."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from operator import itemgetter

from tests.checker.effects import is_done, wrong_effect
from tests.checker.fold import Fold, view
from tests.checker.history import Attempt, Command, History, Outcome, Read
from tests.checker.snapshot import Row, Snapshot, StoredEvent

# Refusals that say that somebody has the claim already; where they name a resource, it is there.
TAKEN = {"duplicate-external-id", "sku-taken"}


def outcome_findings(history: History, taken: Snapshot, folded: Fold) -> Iterator[str]:
    """Everything in which the answers and the log do not agree, a line each."""
    effects: dict[str, list[StoredEvent]] = defaultdict(list)
    for event in filter(_is_of_the_shop, taken.events):
        if event.tag in history.commands:
            effects[event.tag].append(event)
        else:
            yield f"nobody asked for {event}: {event.tag or 'no tag'}"
    kept: dict[str, list[Row]] = defaultdict(list)
    for row in taken.keys:
        kept[row["key"]].append(row)
    for command in history.commands.values():
        events = effects.get(command.tag, [])
        yield from _amount_of(command, events, folded)
        for attempt in command.acknowledged:
            yield from _answer(command, attempt, events, folded)
        if command.key is not None:
            yield from _key(command, events, kept.get(command.key, []))
        for attempt in command.attempts:
            if attempt.code in TAKEN and attempt.location and not folded.streams.get(_stream(attempt.location)):
                yield f"{command} was refused for {attempt.location}, which is not in the log"
    yield from _real_time(history.commands.values(), effects)
    for read in history.reads:
        yield from _read(read, folded)


def _amount_of(command: Command, events: list[StoredEvent], folded: Fold) -> Iterator[str]:
    """Acknowledged: once. Rejected: not at all. Unknown: at most once. And then what was asked for."""
    times = len({event.metadata.get("command_id") for event in events})
    if times > 1:
        where = ", ".join(map(str, events))
        yield f"doubled: {command} was done {times} times: {where}"
        return
    if events:
        if command.outcome is Outcome.REJECTED:
            codes = ", ".join(str(attempt.code) for attempt in command.attempts)
            yield f"rejected but there: {command} was refused ({codes}), and did {events[0]}"
        if events[-1].position - events[0].position != len(events) - 1:
            yield f"{command} did not happen in one piece: {', '.join(map(str, events))}"
        if fault := wrong_effect(command, events, folded):
            yield f"{command} did something else than was asked for: {fault}"


def _answer(command: Command, attempt: Attempt, events: list[StoredEvent], folded: Fold) -> Iterator[str]:
    if not events and not is_done(command, attempt, folded):
        yield f"lost: {command} was acknowledged at position {attempt.position} and is not in the log"
        return
    once = len(command.attempts) == 1 or command.key is not None
    if events and (attempt.position < events[-1].position or (once and attempt.position != events[-1].position)):
        yield f"{command} was answered with position {attempt.position}, and ended at {events[-1].position}"
    if attempt.version is None:
        return
    stream = _stream(command.path if attempt.location is None else attempt.location)
    row = folded.state(stream, attempt.position)
    if row is None or row["version"] != attempt.version:
        version = row["version"] if row else None
        yield f"{command} was answered with version {attempt.version} of {stream}, which had {version} then"
    elif attempt.body != view(stream.partition("-")[0], row):
        yield f"{command} was answered with another state than the log has: {_differing(attempt.body, stream, row)}"


def _key(command: Command, events: list[StoredEvent], kept: list[Row]) -> Iterator[str]:
    answers = {(it.status, it.content, it.version, it.position) for it in command.acknowledged}
    if len(answers) > 1:
        yield f"{command} got {len(answers)} different answers under the key {command.key}"
    done = [it for it in command.attempts if it.outcome is not Outcome.REJECTED and not it.replayed]
    if command.acknowledged and not done:
        codes = ", ".join(str(attempt.code) for attempt in command.attempts if attempt.code)
        yield f"rejected but there: {command} was refused ({codes}), and its repetition found it done"
    if events and done:
        yield from _refused_afterwards(command, max(it.ended_at for it in done))
    if len(kept) > 1:
        return  # of several callers: which is whose cannot be told here
    if command.acknowledged and not kept:
        yield f"the key {command.key} of {command} was acknowledged and is not kept"
    elif events and not kept:
        yield f"the key {command.key} of {command} is not kept, and what it did is there"
    elif command.acknowledged:
        last = command.acknowledged[-1]
        if (kept[0]["status"], kept[0]["body"], kept[0]["position"]) != (last.status, last.content, last.position):
            yield f"the key {command.key} of {command} keeps another answer than was given"


def _refused_afterwards(command: Command, done_at: float) -> Iterator[str]:
    for attempt in command.attempts:
        by_the_rules = attempt.outcome is Outcome.REJECTED and attempt.status is not None and attempt.status < 500
        if by_the_rules and attempt.sent_at >= done_at:
            yield f"rejected but there: {command} had been done when its repetition was refused ({attempt.code})"


def _real_time(commands: Iterable[Command], effects: dict[str, list[StoredEvent]]) -> Iterator[str]:
    """What was acknowledged before another command was sent stands before it in the log."""
    ends = [
        (min(attempt.ended_at for attempt in command.acknowledged), effects[command.tag][-1].position, str(command))
        for command in commands
        if command.acknowledged and effects.get(command.tag)
    ]
    starts = [
        (min(attempt.sent_at for attempt in command.attempts), effects[command.tag][0].position, str(command))
        for command in commands
        if effects.get(command.tag) and command.attempts
    ]
    ends.sort(key=itemgetter(0))
    starts.sort(key=itemgetter(0))
    latest, by, number = 0, "", 0
    for sent_at, position, command in starts:
        while number < len(ends) and ends[number][0] < sent_at:
            if ends[number][1] > latest:
                latest, by = ends[number][1], ends[number][2]
            number += 1
        if position < latest:
            yield f"{command} was sent after {by} was acknowledged, and stands before it: {position} before {latest}"


def _read(read: Read, folded: Fold) -> Iterator[str]:
    stream = _stream(read.path)
    if read.token is not None and read.position < read.token:
        yield f"GET {read.path} was to be as of {read.token}, and was as of {read.position}"
    row = folded.state(stream, read.position)
    if row is None or row["version"] != read.version:
        yield f"GET {read.path} as of {read.position} had version {read.version}, not {row['version'] if row else None}"
    elif read.body != view(stream.partition("-")[0], row):
        yield f"GET {read.path} had another state than the log: {_differing(read.body, stream, row)}"


def _differing(body: Row, stream: str, row: Row) -> str:
    shown = view(stream.partition("-")[0], row)
    names = sorted(name for name in shown.keys() | body.keys() if shown.get(name) != body.get(name))
    return ", ".join(f"{name} {body.get(name)} instead of {shown.get(name)}" for name in names)


def _stream(path: str) -> str:
    """The stream of the resource at a path."""
    kind, resource = path.strip("/").split("/")[:2]
    return f"{kind.removesuffix('s')}-{resource}"


def _is_of_the_shop(event: StoredEvent) -> bool:
    """Whether the event is not an act of an operator, which the command line records."""
    return not event.stream.startswith("operator-")
