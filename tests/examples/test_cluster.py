"""The cluster examples start workers that codesign knows, and nothing of the storage's password is seen."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.storages import BaseStorage

from codesign.arguments import parser_of_commands
from codesign.search.queue.storage import open_storage
from codesign.search.queue.worker import WORKPLACE
from tests import SPACE
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "examples" / "cluster"
SLURM = CLUSTER / "slurm.sh"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def job() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CLUSTER / "kubernetes.yaml").read_text())
    return found


@pytest.fixture
def container(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return found


def test_the_job_runs_one_worker_per_index_and_all_at_once(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] >= 1
    assert job["spec"]["ttlSecondsAfterFinished"] > 0


def test_a_pod_that_dies_is_replaced(job: dict[str, Any]) -> None:
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # what the two others require
    assert job["spec"]["backoffLimitPerIndex"] > 0
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def test_the_pod_has_the_storage_from_a_secret_and_no_other_rights(
    job: dict[str, Any], container: dict[str, Any]
) -> None:
    variables = {v["name"]: v for v in container["env"]}
    assert set(variables["CODESIGN_STORAGE"]["valueFrom"]["secretKeyRef"]) == {"name", "key"}
    assert variables["OMP_NUM_THREADS"]["value"] == "1"
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_the_pod_runs_a_command_that_codesign_knows(container: dict[str, Any]) -> None:
    name, *words = container["command"]
    assert name == "codesign"
    assert (worker := parser_of_commands().parse_args(words)).command == "worker"
    assert (worker.study, worker.storage) == ("phone", None)


def test_the_array_runs_a_command_that_codesign_knows() -> None:
    (line,) = re.findall(r"^ *codesign (.*?) \|\|", SLURM.read_text(), re.MULTILINE)
    worker = parser_of_commands().parse_args(shlex.split(line.replace("$study", "phone")))
    assert (worker.command, worker.study, worker.storage) == ("worker", "phone", None)


def test_the_array_is_a_bash_script_that_slurm_may_requeue() -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    options = re.findall(r"^#SBATCH --([a-z-]+)", SLURM.read_text(), re.MULTILINE)
    assert {"array", "requeue", "cpus-per-task", "mem", "time"} <= set(options)


def test_a_storage_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "storage"
    file.write_text("sqlite:///never-opened.db\n")
    file.chmod(0o644)
    environment = ENVIRONMENT | {"CODESIGN_STORAGE_FILE": str(file), "CODESIGN_STORAGE": ""}
    done = subprocess.run(["bash", str(SLURM), "tiny"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"chmod 600 {file}" in done.stderr


@contextmanager
def led(folder: Path, storage: str) -> Iterator[subprocess.Popen[str]]:
    """A tiny study that waits for workers."""
    space = folder / "space.yaml"
    space.write_text(SPACE)
    command = [sys.executable, "-m", "codesign", "search", str(space), "--out", str(folder / "out"), "--json"]
    process = subprocess.Popen(
        [*command, "--workers", "0"],
        cwd=ROOT,
        env=ENVIRONMENT | {"CODESIGN_STORAGE": storage},
        text=True,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_led(storage: BaseStorage) -> None:
    """A worker that is earlier would be started again, ten seconds later."""
    wait_until(lambda: any(WORKPLACE in study.user_attrs for study in storage.get_all_studies()))


@pytest.mark.slow
@pytest.mark.long
def test_a_task_of_the_array_measures_until_the_study_ends(tmp_path: Path) -> None:
    storage, file = f"sqlite:///{tmp_path / 'study.db'}", tmp_path / "storage"
    file.write_text(storage + "\n")
    file.chmod(0o600)
    variables = {"CODESIGN_STORAGE_FILE": str(file), "SLURM_ARRAY_TASK_ID": "0", "CODESIGN_STORAGE": ""}
    opened = open_storage(storage)
    with led(tmp_path, storage) as search:
        wait_until_led(opened)
        worker = subprocess.run(
            ["bash", str(SLURM), "tiny"],
            cwd=ROOT,
            env=ENVIRONMENT | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        told, _ = search.communicate(timeout=60)
    assert worker.returncode == 0, worker.stderr
    assert "the study ended; 4 evaluations done here" in worker.stdout
    assert json.loads(told)["evaluations"] == 4


@pytest.mark.slow
@pytest.mark.long
def test_a_worker_takes_by_the_proxy_what_a_coordinator_queued_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="codesign[grpc] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = f"sqlite:///{tmp_path / 'study.db'}"
    opened = open_storage(database)
    command = [sys.executable, str(CLUSTER / "storage_proxy.py"), "--host", "127.0.0.1", "--port", str(port)]
    proxy = subprocess.Popen(command, env=ENVIRONMENT | {"CODESIGN_STORAGE": database})
    storage = f"grpc://127.0.0.1:{port}"
    try:
        with led(tmp_path, database) as search:
            wait_until_led(opened)
            worker = subprocess.run(
                [sys.executable, "-m", "codesign", "worker", "--study", "tiny", "--json"],
                cwd=ROOT,
                env=ENVIRONMENT | {"CODESIGN_STORAGE": storage},
                capture_output=True,
                text=True,
                check=False,
            )
            told, _ = search.communicate(timeout=60)
    finally:
        proxy.kill()
        proxy.wait()
    assert worker.returncode == 0, worker.stderr
    assert json.loads(worker.stdout)["evaluations"] == json.loads(told)["evaluations"] == 4


@pytest.mark.parametrize("storage", ["", "study.journal", "grpc://127.0.0.1:1"])
def test_the_proxy_says_what_it_cannot_stand_before(
    storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODESIGN_STORAGE", storage)
    monkeypatch.setattr(sys, "argv", ["storage_proxy.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(CLUSTER / "storage_proxy.py"), run_name="__main__")
    assert ended.value.code == 2
    assert "set CODESIGN_STORAGE to the database's URL" in capsys.readouterr().err
