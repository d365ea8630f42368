"""Which tests `make test` leaves to CI and to `make test ALL=1`, so that it takes minutes on two cores.

They start whole services, browsers, proxies or compilers, or they wait for limits of time. Smaller tests that stay
keep the promises of ARCHITECTURE.md: `tests/test_everyday.py` checks that no test of a guard is left out.
"""

# The beginning of the id of tests (a folder, a file or a test), and what they cost. Seconds are those of a run of
# everything on two cores, four tests at a time.
LEFT_TO_CI = {
    "tests/access/test_matrix.py::test_no_cell_of_the_matrix_differs": "takes 47 s",
    "tests/access/test_secrets.py::": "takes 16 s",
    "tests/access/test_token_issuer.py::test_a_service_whose_issuer_is_away_serves_keys": "takes 32 s",
    "tests/access/test_two_processes.py::": "starts two services and waits for their polls",
    "tests/access/test_what_leaks.py::test_errors_and_names_that_others_wrote": "takes 23 s",
    "tests/access/test_what_leaks.py::test_the_command_line_prints_nothing": "takes 20 s",
    "tests/bench/test_bench.py::test_the_real_service_is_measured_and_checked": "takes 15 s",
    "tests/bench/test_bench.py::test_the_replay_makes_the_rows_that_plain_sql_makes": "takes 50 s",
    "tests/checker/test_seeded_faults.py::": "starts a service for each fault",
    "tests/clients/test_clients.py::": "takes 105 s",
    "tests/clients/test_openapi_generator.py::": "takes 60 s",
    "tests/clients/test_readmes.py::": "installs both clients into new projects",
    "tests/console/test_console_in_a_browser.py::test_no_page_has_a_fault_or_an_obstacle": "opens every page",
    "tests/console/test_console_reads_little.py::test_no_page_scans_the_log": "takes 15 s",
    "tests/command/importing/test_large_returns.py::test_a_return_of_many_large_orders_delays": "takes 20 s",
    "tests/command/test_states.py::test_the_owners_of_skus_are_bounded_in_bytes": "takes 18 s",
    "tests/contract/test_linters.py::": "takes 25 s",
    "tests/docs/test_mirrors.py::": "takes 19 s",
    "tests/docs/test_roles.py::test_every_page_and_endpoint": "takes 24 s",
    "tests/docs/test_walkthrough.py::": "takes 80 s",
    "tests/projector/mirror/test_rebuilding.py::test_readers_do_not_notice_a_rebuild[mariadb]": "takes 13 s",
    "tests/projector/test_worker.py::test_a_worker_is_woken_by_the_bell_and_looks_by_itself": "takes 16 s",
    "tests/properties/": "takes 33 s",
    "tests/proxies/": "starts nginx, HAProxy, Caddy and Varnish",
    "tests/service/test_alerts.py::test_an_alert_that_is_wrong_fails_its_test": "takes 26 s",
    "tests/service/test_alerts.py::test_the_alerts_go_off_when_they_should_and_only_then": "takes 30 s",
    "tests/service/test_firing.py::": "takes 90 s",
    "tests/service/cli/test_doctor.py::test_the_doctor_names_a_session_that_locks_a_whole_table": "waits for locks",
    "tests/service/test_embedded.py::": "starts a PostgreSQL for each test",
    "tests/service/test_interrupting.py::test_ctrl_c_at_any_moment": "takes 60 s",
    "tests/service/test_scraping.py::test_prometheus_reads_both": "starts a whole service and Prometheus",
    "tests/service/test_up.py::test_a_second_ctrl_c_is_harmless": "takes 14 s",
    "tests/service/test_up.py::test_a_second_up_on_the_same_data_is_refused": "takes 16 s",
    "tests/service/test_up.py::test_after_a_kill_it_starts_again_at_once": "takes 28 s",
    "tests/service/test_up.py::test_a_child_that_dies_repeatedly_ends_orders_up": "takes 15 s",
    "tests/service/test_up.py::test_whatever_is_killed_is_started_again": "takes 22 s",
    "tests/system/test_backup.py::": "takes 59 s",
    "tests/system/test_crashes.py::": "takes 93 s",
    "tests/system/test_cut_connections.py::": "takes 28 s",
    "tests/system/test_disk.py::": "takes 33 s",
    "tests/system/test_foreign_settings.py::": "starts a whole service for each foreign setting",
    "tests/system/test_health.py::": "starts a whole service and waits until parts are missed",
    "tests/system/test_keep_alive.py::": "takes 17 s",
    "tests/system/test_large_bodies.py::": "takes 13 s",
    "tests/system/test_large_cancellations.py::": "takes 14 s",
    "tests/system/test_long_streams.py::": "takes 40 s",
    "tests/system/test_mirrors.py::": "takes 33 s",
    "tests/system/test_neighbours.py::": "takes 14 s",
    "tests/system/test_overload.py::test_commands_and_reads_fail_within_ten_seconds": "takes 13 s",
    "tests/system/test_poison.py::": "takes 45 s",
    "tests/system/test_rebuilding.py::": "takes 34 s",
    "tests/system/test_redis.py::": "takes 40 s",
    "tests/system/test_same_key.py::test_a_key_is_repeated_across_crashes": "takes 26 s",
    "tests/system/test_schema.py::": "takes 32 s",
    "tests/system/test_shutdown.py::": "takes 80 s",
    "tests/system/test_slow_senders.py::": "waits for the limits of slow senders",
    "tests/system/test_stack.py::": "kills every part of a whole service",
    "tests/system/test_standby.py::": "starts two PostgreSQL servers",
    "tests/system/test_very_large_orders.py::": "works through very large orders",
    "tests/system/test_zombies.py::": "takes 56 s",
}
WHERE_THEY_RUN = "runs in CI and with make test ALL=1"


def why_left_out(test: str) -> str | None:
    """Why the everyday suite leaves out the test with this id; None: it does not."""
    reasons = (f"{cost}; {WHERE_THEY_RUN}" for beginning, cost in LEFT_TO_CI.items() if test.startswith(beginning))
    return next(reasons, None)
