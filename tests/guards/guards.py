"""The guards that the promises hang on, each with the way it is broken and the tests that then have to fail.

`python -m tests.guards.breaking` breaks them one by one in a copy of the repository. docs/reliability.md has the list.
"""

from typing import NamedTuple


class Guard(NamedTuple):
    """What is guarded; in `file`, `text` is replaced by `broken`; `tests` (file and name) must then fail."""

    what: str
    file: str
    text: str
    broken: str
    tests: tuple[str, ...]


GUARDS = (
    Guard(
        "a stream has one event of each version",
        "migrations/versions/0001_the_log.py",
        "    CONSTRAINT one_event_per_version UNIQUE (stream, version),\n",
        "",
        ("tests/eventlog/test_log_refuses_rewriting.py::test_a_stream_has_one_event_of_each_version",),
    ),
    Guard(
        "the log refuses UPDATE, DELETE and TRUNCATE",
        "migrations/versions/0001_the_log.py",
        "RAISE EXCEPTION 'log.% is append-only: % refused'",
        "RAISE WARNING 'log.% is append-only: % refused'",
        ("tests/eventlog/test_log_refuses_rewriting.py::test_not_even_a_superuser_rewrites_history",),
    ),
    Guard(
        "the head is locked before anything is decided",
        "eventlog/append.py",
        "recorded_at FROM log.head FOR UPDATE",
        "recorded_at FROM log.head",
        (
            "tests/command/test_races.py::test_the_last_unit_is_sold_once_to_fifty_buyers",
            "tests/command/test_races.py::test_a_busy_hour_over_two_processes_adds_up",
        ),
    ),
    Guard(
        "what another process has appended is forgotten before deciding",
        "command/states.py",
        "            self._streams.pop(stream, None)\n\n    def clear",
        "            pass\n\n    def clear",
        ("tests/command/test_races.py::test_two_processes_take_turns_and_see_what_the_other_did",),
    ),
    Guard(
        "nothing is sold that is not there",
        "command/domain/order.py",
        "it.stock < requested[it.id]",
        "it.stock < 0",
        ("tests/command/test_races.py::test_the_last_unit_is_sold_once_to_fifty_buyers",),
    ),
    Guard(
        "lines of one product are added up before the stock is looked at",
        "command/domain/order.py",
        "requested[it.id] = requested.get(it.id, 0) + wanted.quantity",
        "requested[it.id] = wanted.quantity",
        ("tests/command/domain/test_order.py::test_two_lines_that_would_each_fit_are_refused_together",),
    ),
    Guard(
        "what is cancelled is put back",
        "command/domain/order.py",
        "    for product_id, quantity in released.items():",
        "    for product_id, quantity in ():",
        ("tests/command/domain/test_cancelling.py::test_cancelling_puts_everything_back",),
    ),
    Guard(
        "a cancelled order is cancelled no second time",
        "command/domain/order.py",
        '        if order.status == "cancelled":\n            return []\n',
        "",
        ("tests/command/test_cancelling.py::test_a_cancelled_order_is_cancelled_again_without_a_word",),
    ),
    Guard(
        "no more of a line is cancelled than is left",
        "command/domain/order.py",
        "if asked > left[line]",
        "if False",
        ("tests/command/test_races.py::test_pieces_of_a_line_are_cancelled_no_more_than_once",),
    ),
    Guard(
        "money is exact",
        "command/domain/order.py",
        "amount = Decimal(unit_price) * wanted.quantity",
        "amount = Decimal(float(unit_price) * wanted.quantity)",
        ("tests/command/domain/test_order.py::test_amounts_are_exact",),
    ),
    Guard(
        "a name is claimed in the transaction of its events",
        "eventlog/append.py",
        "    if batch.claimed:\n",
        "    if batch.claimed and False:\n",
        ("tests/command/test_races.py::test_a_name_is_taken_once",),
    ),
    Guard(
        "key and answer are kept in the transaction of the events",
        "eventlog/append.py",
        "    if batch.answers:\n",
        "    if batch.answers and False:\n",
        ("tests/command/test_idempotency.py::test_the_same_request_gets_the_first_answer_again_and_nothing_happens",),
    ),
    Guard(
        "a key belongs to its caller",
        "eventlog/idempotency.py",
        "kept.caller = wanted.caller AND ",
        "",
        ("tests/command/test_idempotency.py::test_a_key_is_its_callers_own",),
    ),
    Guard(
        "a key does not change with the caller's token",
        "command/api.py",
        "caller_of(request).account.encode()",
        'request.headers.get("authorization", "").encode()',
        ("tests/command/test_idempotency.py::test_a_key_outlives_a_refreshed_token",),
    ),
    Guard(
        "a key answers one request only",
        "command/deciding.py",
        "if before.fingerprint != key.fingerprint:",
        "if False:",
        ("tests/command/test_idempotency.py::test_the_same_key_for_another_body_is_refused",),
    ),
    Guard(
        "a refusal is not kept under its key",
        "command/deciding.py",
        "        decided.refusals.append((waiting, refusal))\n",
        "        decided.refusals.append((waiting, refusal))\n"
        '        decided.batch.answers += [KeptAnswer(*key, 409, None, None, decided.base, b"{}")] if key else []\n',
        ("tests/command/test_idempotency.py::test_a_rejection_is_not_kept_and_may_succeed_after_a_restock",),
    ),
    Guard(
        "nobody is answered before the commit",
        "command/writer.py",
        "                    committing = True\n",
        "                    committing = True\n                    self._answer(decided)\n",
        ("tests/command/test_lost_connections.py::test_a_commit_that_never_arrived_twice_appends_nothing",),
    ),
    Guard(
        "the bell rings after the commit",
        "command/writer.py",
        "        if decided.batch.events:\n            self._rang()\n        self._answer(decided)\n",
        "        self._answer(decided)\n",
        ("tests/command/test_writer.py::test_what_waits_together_is_committed_together",),
    ),
    Guard(
        "the bell does not ring before the commit",
        "command/writer.py",
        "                    committing = True\n",
        "                    committing = True\n                    self._rang()\n",
        ("tests/command/test_lost_connections.py::test_a_commit_that_never_arrived_twice_appends_nothing",),
    ),
    Guard(
        "what waits for the head, and was given up, leaves no session behind",
        "database/sessions.py",
        '"lock_timeout": self.lock,',
        '"lock_timeout": None,',
        ("tests/command/test_lost_connections.py::test_who_gave_up_on_the_head_leaves_no_session_behind",),
    ),
    Guard(
        "after a broken COMMIT the log itself is asked",
        "command/writer.py",
        "                    return await append.landed(connection, batch)",
        "                    return False",
        ("tests/command/test_lost_connections.py::test_a_commit_whose_answer_is_lost_is_answered_with_what_happened",),
    ),
    Guard(
        "what cannot be found out is not guessed",
        "command/writer.py",
        'return _Failure(OutcomeUnknown("the connection to the database broke at COMMIT"))',
        'return _Failure(Unavailable("the connection to the database broke at COMMIT"))',
        ("tests/command/test_lost_connections.py::test_when_the_server_cannot_be_asked_the_outcome_is_unknown",),
    ),
    Guard(
        "a full queue refuses at once",
        "command/waiting.py",
        "if len(self) >= WAITING_MAX or self._is_closed:",
        "if self._is_closed:",
        ("tests/command/test_writer.py::test_too_many_are_refused_at_once",),
    ),
    Guard(
        "a batch is bounded by what it reads and writes",
        "command/deciding.py",
        "(self.rows >= BATCH_ROWS_MAX or self.data_bytes >= BATCH_BYTES_MAX)",
        "False",
        ("tests/command/test_large_batches.py::test_a_batch_of_cancellations_ends_when_it_is_full",),
    ),
    Guard(
        "a batch that fails does not fail what it has put back",
        "command/writer.py",
        "            taken[:] = [it for it in taken if it not in aside]\n",
        "",
        ("tests/command/test_large_batches.py::test_a_batch_that_fails_does_not_fail_what_it_had_put_back",),
    ),
    Guard(
        "a session sets what the code depends on",
        "database/sessions.py",
        "wanted = limits.settings() | _SETTINGS | dict(settings)",
        "wanted = limits.settings() | dict(settings)",
        ("tests/database/test_sessions.py::test_every_way_to_connect_has_the_same_settings",),
    ),
    Guard(
        "whoever stalls with the head in hand is cut off",
        "eventlog/append.py",
        ", idle_in_transaction=stalled.SECONDS_MAX",
        "",
        ("tests/command/test_lost_connections.py::test_who_stalls_with_the_head_in_hand_is_cut_off",),
    ),
    Guard(
        "whoever stops with the head in hand in the middle of a statement is ended",
        "eventlog/append.py",
        '.execute(stalled.END, ("log.head",))',
        '.execute(stalled.END, ("log.nothing",))',
        (
            "tests/command/test_lost_connections.py::test_who_holds_the_head_and_stops_in_the_middle_of_a_statement_is_ended",
        ),
    ),
    Guard(
        "rows and checkpoint are one transaction",
        "projector/loop.py",
        "            with connection.transaction():\n                yield\n",
        "            yield\n",
        ("tests/projector/test_loop.py::test_rows_without_their_checkpoint_are_never_seen",),
    ),
    Guard(
        "a checkpoint that was moved meanwhile fences the batch",
        "projector/checkpoint.py",
        "        if connection.execute(self._move, values).rowcount != 1:",
        "        if connection.execute(self._move, values).rowcount > 1:",
        ("tests/projector/test_loop.py::test_a_checkpoint_that_was_moved_meanwhile_fences_the_batch",),
    ),
    Guard(
        "only one projects at a time",
        "projector/checkpoint.py",
        "WHERE position = %s AND parked_changes = %s FOR UPDATE SKIP LOCKED",
        "WHERE position >= %s AND parked_changes >= %s",
        ("tests/projector/test_loop.py::test_whoever_finds_another_at_work_does_not_wait",),
    ),
    Guard(
        "a row that is to be changed is there",
        "projector/rows.py",
        "if changed != len(rows):",
        "if False:",
        ("tests/projector/test_parking.py::test_a_change_to_a_row_that_is_not_there_parks_its_stream",),
    ),
    Guard(
        "what was folded of a refused batch is forgotten",
        "projector/loop.py",
        "            self.folding.clear()\n",
        "",
        ("tests/projector/test_parking.py::test_a_fault_in_a_projection_leaves_no_half_of_an_event",),
    ),
    Guard(
        "what depends on a parked row parks behind it",
        "projector/projection.py",
        "if kind != own):",
        "if not kind):",
        ("tests/projector/test_parking.py::test_what_depends_on_a_parked_row_parks_behind_it_and_drains_with_it",),
    ),
    Guard(
        "a parked stream's later events are held back",
        "projector/parking.py",
        "        if self.get(event.stream):\n            return True\n",
        "",
        ("tests/projector/test_parking.py::test_an_event_that_cannot_be_projected_parks_its_stream_and_no_other",),
    ),
    Guard(
        "a replay heeds what was skipped",
        "projector/loop.py",
        "if seen.last_skip > seen.position else ()",
        "if seen.parked else ()",
        ("tests/projector/test_parking.py::test_a_replay_leaves_out_what_was_skipped_though_it_could_take_it_now",),
    ),
    Guard(
        "the swap holds all readers",
        "projector/replay.py",
        "IN ACCESS EXCLUSIVE MODE",
        "IN ROW EXCLUSIVE MODE",
        ("tests/projector/test_replay.py::test_readers_and_writers_do_not_notice_a_replay",),
    ),
    Guard(
        "a swap is never behind what readers have seen",
        "projector/replay.py",
        "while (progress := shadow.loop.project(connection, BATCH_EVENTS)).position < min(row[0], progress.head):",
        "while (progress := shadow.loop.look(connection)).position < 0:",
        ("tests/projector/test_replay.py::test_a_swap_is_never_behind_what_readers_have_seen",),
    ),
    Guard(
        "verify compares what is written, not what it is worth",
        "projector/verify.py",
        "WHERE live::text IS DISTINCT FROM proof::text",
        "WHERE live IS DISTINCT FROM proof",
        ("tests/projector/test_verify.py::test_a_value_that_looks_the_same_is_another",),
    ),
    Guard(
        "everybody who listens hears the bell",
        "projector/bell.py",
        '        self._redis.publish(channel(self._redis), b"")\n',
        "",
        ("tests/projector/test_bell.py::test_everybody_who_listens_hears_a_ring",),
    ),
    Guard(
        "tables of another version are not read",
        "query/statements.py",
        "checkpoint_of(projection).c.version == literal_column(str(version_of(projection)))",
        "checkpoint_of(projection).c.version >= literal_column('0')",
        ("tests/query/test_sales.py::test_tables_of_another_version_are_not_read",),
    ),
    Guard(
        "a read waits for the write that it knows of",
        "query/sync.py",
        "        if token is None or answer.position >= token:\n",
        "        if True:\n",
        ("tests/query/test_sync.py::test_a_read_waits_for_the_write_that_it_knows_of",),
    ),
    Guard(
        "what is parked is not called not found",
        "query/parked.py",
        "    if parked:\n        # It is there",
        "    if False:\n        # It is there",
        ("tests/query/test_parked.py::test_what_has_not_made_it_into_the_tables_is_not_called_not_found",),
    ),
    Guard(
        "all who knock are let in, also when a turn of the loop takes long",
        "service/http/listener.py",
        "range(ACCEPTS_A_TURN - 1)",
        "range(0)",
        ("tests/service/test_listener.py::test_a_turn_of_the_loop_accepts_many_connections",),
    ),
    Guard(
        "requests under way are bounded, reads as well",
        "service/http/connections.py",
        "return under_way - self._waiting() > REQUESTS_MAX",
        "return False",
        ("tests/system/test_overload.py::test_reads_that_there_is_no_room_for_are_refused_at_once",),
    ),
)
