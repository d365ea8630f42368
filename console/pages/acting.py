"""Acting: an operator asks for a job. Replays and skips ask back first, on a page that says what they would do."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import psycopg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from access.audit import REASON_LENGTH_MAX
from console.database import Unanswered
from console.desk import Desk
from console.gate import demand_scope
from contract.callers import Caller
from eventlog.append import Unreplicated
from eventlog.failures import for_operators
from projector.jobs import table
from projector.parked import Group, groups, held_back
from projector.projection import Projection, named

SCOPE = "ops:write"


class Target(NamedTuple):
    """The object of an act: a projection, and for a retry or skip a parked stream or group of it."""

    projection: Projection
    group: Group | None = None
    stream: str | None = None
    position: int | None = None

    @property
    def name(self) -> str:
        """The name that an operator types to confirm the act."""
        return self.stream or (self.group.type if self.group else self.projection.name)


def confirm_replay(desk: Desk, request: Request) -> Response:
    """Show what a rebuild of a projection would do, and how long it would take."""
    demand_scope(request, SCOPE)
    standing = _standing(desk, _target(desk, request.query_params).projection)
    return desk.page(request, "replay.html", standing=standing, reason_length_max=REASON_LENGTH_MAX)


def confirm_skip(desk: Desk, request: Request) -> Response:
    """Show what a skip would leave out, with the fields for the reason and the name."""
    demand_scope(request, SCOPE)
    return _skip_page(desk, request, _target(desk, request.query_params), request.query_params)


def start(desk: Desk, request: Request) -> Response:
    """Ask for the job, and lead to its page. The same job that still waits or runs is not asked for twice."""
    caller = demand_scope(request, SCOPE)
    form: Mapping[str, str] = request.state.form
    kind = next((it for it in table.KINDS if it == form.get("kind")), None)
    if kind is None:
        raise HTTPException(400, "The form asks for nothing that can be done.")
    target = _target(desk, form)
    if kind in {"retry", "skip"} and target.stream is None and target.group is None:
        raise HTTPException(400, "The form names neither a stream nor a group.")
    if kind == "skip" and (errors := _errors_of_skip(target, form)):
        return _skip_page(desk, request, target, form, errors)
    reason = form.get("reason", "").strip()
    if len(reason) > REASON_LENGTH_MAX:
        raise HTTPException(400, f"The reason has more than {REASON_LENGTH_MAX:,} characters.")
    wanted = table.Wanted(
        kind,
        target.projection.name,
        target.stream,
        target.position if kind == "skip" else None,
        target.group.type if target.group else None,
        target.group.error if target.group else None,
        target.group.streams if target.group else None,
        reason or None,
    )
    with desk.database.connection() as connection:
        job = next((it.id for it in table.open_jobs(connection) if _is_same(it.wanted, wanted)), None)
    return desk.renderer.redirect(desk.renderer.url(f"/jobs/{job or _ask(desk, caller, wanted)}"))


def _ask(desk: Desk, caller: Caller, wanted: table.Wanted) -> str:
    try:
        return desk.ask(partial(desk.parts.ask, caller.actor, wanted))
    except (psycopg.Error, Unreplicated, TimeoutError) as error:
        raise Unanswered(f"The job could not be recorded, so it was not begun: {for_operators(error)}.") from error


def _target(desk: Desk, form: Mapping[str, str]) -> Target:
    """The target of a form, as it is now. Raises HTTPException when it is gone, or has changed since it was shown."""
    if any("\x00" in it for it in form.values()):
        raise HTTPException(400, "A field has the character NUL.")
    projection = named(desk.parts.projections, form.get("projection", ""))
    if projection is None:
        raise HTTPException(404, "There is no such projection.")
    with desk.database.connection() as connection:
        if stream := form.get("stream"):
            held = next((it.parked for it in held_back(connection, projection, stream=stream)), None)
            if held is None or (form.get("position") or str(held.position)) != str(held.position):
                raise HTTPException(409, "This stream is not parked there any more. Look again at what is parked.")
            return Target(projection, stream=stream, position=held.position)
        if wanted := form.get("group"):
            group = next((it for it in groups(connection, [projection]) if it.name == wanted), None)
            if group is None:
                raise HTTPException(409, "Nothing of this group is parked any more. Look again at what is parked.")
            if (form.get("streams") or str(group.streams)) != str(group.streams):
                number = f"The group has {group.streams:,} streams now, not {form['streams'][:12]}."
                raise HTTPException(409, f"{number} Look again at what is parked.")
            return Target(projection, group=group)
    return Target(projection)


def _skip_page(
    desk: Desk, request: Request, target: Target, form: Mapping[str, str], errors: Mapping[str, str] | None = None
) -> Response:
    if target.stream is None and target.group is None:
        raise HTTPException(400, "Nothing is named that could be skipped.")
    return desk.page(
        request,
        "skip.html",
        400 if errors else 200,
        target=target,
        group=target.group.name if target.group else None,
        typed={name: form.get(name, "") for name in ("reason", "name")},
        errors=errors or {},
        reason_length_max=REASON_LENGTH_MAX,
    )


def _errors_of_skip(target: Target, form: Mapping[str, str]) -> dict[str, str]:
    errors = {}
    reason = form.get("reason", "").strip()
    if not reason:
        errors["reason"] = "Say why the read tables can do without the event."
    elif len(reason) > REASON_LENGTH_MAX:
        errors["reason"] = f"The reason has more than {REASON_LENGTH_MAX:,} characters."
    if form.get("name", "").strip() != target.name:
        errors["name"] = f"Type {target.name} to skip it."
    return errors


def _standing(desk: Desk, projection: Projection) -> object:
    pulse = desk.heart.pulse()
    if pulse.status is None:
        raise Unanswered(pulse.unanswered)
    return next(it for it in pulse.status.projections if it.name == projection.name)


def _is_same(one: table.Wanted, other: table.Wanted) -> bool:
    return one._replace(reason=None, streams=None) == other._replace(reason=None, streams=None)
