"""What callers send as credentials shows up nowhere: not in logs, answers, metrics, or the list of processes."""

import re
import subprocess
from pathlib import Path

import httpx
import psycopg

from access import keys
from tests import loopback
from tests.access.keyed import bearing, new_key
from tests.access.test_matrix import ROWS
from tests.builders import wait_until
from tests.system.stack import ServiceProcess, answers, free_port

CANARIES = 20


def test_secrets_are_in_no_log_answer_metric_or_process_list(database_url: str, tmp_path: Path) -> None:
    valid = [new_key(database_url, "operator") for _ in range(CANARIES // 2)]
    made_up = [keys.make().text for _ in range(CANARIES // 4)]
    others = [f"canary{number}{keys.make().text[20:]}" for number in range(CANARIES // 4)]
    secrets = valid + made_up + others
    port = free_port()
    environment = {
        "DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0", "ALLOW_UNSAFE_DATABASE": "1",
        "LOG_LEVEL": "debug", "NO_AUTH": "", "ALLOWED_HOSTS": "",
    }  # fmt: skip
    service = ServiceProcess("api", ["serve", "--port", str(port)], environment, tmp_path)
    service.start()
    url = f"http://127.0.0.1:{port}"
    said = []
    try:
        wait_until(lambda: answers(f"{url}/healthz"), 60, "an API that answers")
        with psycopg.connect(database_url) as connection:
            # The writer fails at this with a traceback in the log.
            connection.execute(
                "CREATE FUNCTION log.broken() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN IF NEW.type = 'UserRegistered' THEN RAISE 'broken'; END IF; RETURN NEW; END $$"
            )
            connection.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON log.events FOR EACH ROW EXECUTE FUNCTION log.broken()"
            )
        with loopback.Client(base_url=url, timeout=30, limits=httpx.Limits(max_keepalive_connections=0)) as client:
            for secret in secrets:
                body = {"name": "x", "email": f"{keys.make().id}@example.org"}
                for headers in (bearing(secret), {"Authorization": secret}, {"Authorization": f"Basic {secret}"}):
                    answer = client.post("/users", json=body, headers=headers)
                    said.append(answer.text + str(answer.headers))
            for row in ROWS:
                path = re.sub(r"{\w+}", "01890a5d-ac96-774b-bcce-b302099a8057", row.path)
                for secret in (valid[0], made_up[0], others[0]):
                    answer = client.request(row.method, path, headers=bearing(secret))
                    said.append(answer.text + str(answer.headers))
            said.append(client.get("/metrics", headers=bearing(valid[0])).text)
        said.append(subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout)
    finally:
        service.stop()
    assert "Traceback" in service.log
    assert "RaiseException" in service.log
    said.append(service.log)
    for text in said:
        assert not [it for it in secrets if it in text or it[20:60] in text]
