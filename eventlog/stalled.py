"""Sessions that stand still with a lock that everybody needs, and that PostgreSQL ends by itself only half the time.

A process that is stopped, or a machine that is paused, keeps what it holds. PostgreSQL's own timeout ends a session
that stands still between two statements, but not in the middle of one (the rows of a COPY, a pipeline). Only a
termination gets through to that.
"""

# Also the idle_in_transaction_session_timeout of the sessions that write.
SECONDS_MAX = 5

# Its parameter is the table whose row they have locked. Only sessions of the same role and application are ended.
END = (
    b"""
SELECT pg_terminate_backend(session.pid)
FROM pg_stat_activity AS session JOIN pg_locks AS lock USING (pid)
WHERE session.datname = current_database() AND session.pid <> pg_backend_pid()
    AND session.usename = session_user AND session.application_name = current_setting('application_name')
    AND session.state = 'active' AND session.wait_event IN ('ClientRead', 'ClientWrite')
    AND session.query_start < clock_timestamp() - interval '%d s'
    AND lock.database = session.datid AND lock.mode = 'RowShareLock' AND lock.granted
    AND lock.relation = to_regclass(%%s)
"""
    % SECONDS_MAX
)
