"""What schemathesis makes up from `/openapi.json`, asked of a live server: it answers as the document says.

`DURABLY_SCHEMATHESIS=60` goes on for a minute instead of a few requests to each operation.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from durably.api.limits import LIMITS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

SECONDS = os.environ.get("DURABLY_SCHEMATHESIS")
EFFORT = ("--phases=fuzzing", "--max-examples=5", "--seed=1") if SECONDS is None else (f"--max-time={SECONDS}",)
CONFIG = Path(__file__).with_name("schemathesis.toml")
REFUSED = "http://127.0.0.1:1/"
"""An address of this machine: jobs may not reach it."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


async def furnish(api: Any) -> str:
    """Make what `schemathesis.toml` knows by id; the key that may do everything.

    A key there has to be: with the first that schemathesis makes the server would be closed to it.
    """
    for run_id, workflow, *arguments in (("succeeded", "greet", "you"), ("failed", "broken"), ("asleep", "nap")):
        await api.engine.start(workflow, *arguments, run_id=run_id)
    policy = {"name": "Policy", "max_retries": 3, "backoff": "fixed", "delay_seconds": 1}
    job = {"name": "Job", "configuration": {"url": REFUSED}, "environments": {"production": {"enabled": True}}}
    for policy_id, job_id in (("policy", "job"), ("disposable", "disposable")):
        await create(api, "retry-policies", {"type": "retry_policy", "id": policy_id, "attributes": policy})
        await create(api, "jobs", {"type": "job", "id": job_id, "attributes": job})
    made = await create(api, "keys", {"type": "key", "attributes": {"name": "schemathesis", "scope": "admin"}})
    key: str = made["attributes"]["key"]
    return key


async def create(api: Any, path: str, data: Any) -> Any:
    answer = await api.post(f"/api/v1/{path}", json={"data": data})
    assert answer.status == 201, answer.text
    return answer.json["data"]


async def test_whatever_is_asked_the_answer_is_documented(launch: Any, tmp_path: Path) -> None:
    api = await launch(limits=LIMITS._replace(wait_s=0.05))
    key = await furnish(api)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color"]
    command += ["run", f"{api.server.url}/openapi.json", f"--checks={','.join(CHECKS)}", *EFFORT]
    command += [
        "--header",
        f"Authorization: Bearer {key}",
        "--generation-database=none",
        "--continue-on-failure",
        "--warnings=off",
    ]
    report = await anyio.run_process(
        command,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_KEY": key},
    )
    assert report.returncode == 0, report.stdout.decode()
