"""A search that is operated: stopped by signals, asked where it stands, read by programs, looked at afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy
from optuna.trial import TrialState

from codesign import __version__
from codesign.cli import main
from codesign.commands import validate
from codesign.search import load_space, open_study
from codesign.search.queue.lease import Lease
from codesign.search.queue.queue import Heartbeat
from codesign.search.queue.trials import Work
from codesign.search.space.axes import hardware_parameters
from codesign.signals import Stopped
from tests import SPACE
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("done")
    (folder / "space.yaml").write_text(SPACE)
    assert main(["search", str(folder / "space.yaml"), "--out", str(folder / "out"), "--evaluations", "500"]) == 0
    return folder / "out"


# ---- signals --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Iterator[None]:
    """SIGHUP and SIGINT act as usual: nohup, or a shell in the background, makes all that it starts ignore them."""
    before = {
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_with_one_line_and_its_code(
    space: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    monkeypatch.setattr(validate, "load_space", lambda _: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    assert main(["validate", str(space), "--json"]) == code
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert json.loads(said.out)["exit_code"] == code
    assert signal.getsignal(number) == before


def test_a_signal_waits_for_the_end_of_a_transaction(space: Path, tmp_path: Path) -> None:
    """Else the connection stays open amid its write, and the thread that measures waits for SQLite's lock."""
    ledger = open_study(load_space(space), tmp_path / "out").ledger
    engine = cast("Any", ledger.storage)._backend.engine

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    sqlalchemy.event.listen(engine, "after_cursor_execute", interrupt, once=True)
    with pytest.raises(KeyboardInterrupt):
        ledger.set_attribute("told", "yes")
    assert engine.pool.checkedout() == 0
    assert ledger.study.user_attrs["told"] == "yes"
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [
        (signal.SIGINT, 130, 1),
        pytest.param(signal.SIGTERM, 143, 2, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, 129, 1, marks=pytest.mark.long),
    ],
)
def test_what_was_measured_is_kept_when_a_search_is_stopped(
    tmp_path: Path, number: signal.Signals, code: int, workers: int
) -> None:
    """Also the evaluations in progress; the same command goes on."""
    (tmp_path / "space.yaml").write_text(SPACE.replace("tests.tiny", "tests.storage.slow_tiny"))
    command = [sys.executable, "-m", "codesign", "search", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)],
        cwd=ROOT,
        env=os.environ | {"SLOW_TINY_S": "2", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    read_only = f"{(tmp_path / 'out' / 'study.db').as_uri()}?mode=ro"

    def states() -> list[str]:
        try:
            with contextlib.closing(sqlite3.connect(read_only, uri=True)) as database:
                return [state for (state,) in database.execute("SELECT state FROM trials")]
        except sqlite3.Error:  # not yet
            return []

    wait_until(lambda: "RUNNING" in states() or process.poll() is not None)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    lines = said.strip().splitlines()
    assert process.returncode == code, said
    assert lines[-1].endswith("; what was measured is kept, the same command goes on")
    assert any("evaluations in progress are finished first, and kept" in line for line in lines)
    assert "Traceback" not in said
    assert "RUNNING" not in states()
    assert "COMPLETE" in states()
    log = (tmp_path / "out" / "search.log").read_text()
    assert re.search(r"Z stopped: (KeyboardInterrupt|Stopped SIG)", log)


def test_a_worker_that_is_stopped_gives_its_evaluation_back(space: Path, tmp_path: Path) -> None:
    from codesign.search.queue.worker import Worker

    study = open_study(load_space(space), tmp_path / "out")

    class Interrupted:
        def __call__(self, *_: Any, **__: Any) -> None:
            raise Stopped(signal.SIGTERM)

    study.ledger.add(Work("0|tiny=0", {"tiny": [0] * 6}, ("tiny", 1.0), hardware_parameters(study.space, 0), "test"))
    study.ledger.add(Work("0|tiny=1", {"tiny": [1] * 6}, ("tiny", 1.0), hardware_parameters(study.space, 0), "test"))
    evaluators: dict[str, Any] = {"tiny": Interrupted()}
    worker = Worker(study.ledger.queue, study.space.networks, evaluators)
    with pytest.raises(Stopped):
        worker.run(lambda: False)
    assert TrialState.RUNNING not in [trial.state for trial in study.ledger.study.get_trials(deepcopy=False)]


# ---- status ---------------------------------------------------------------------------------------


def status(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["status", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_the_status_of_a_finished_study(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = status(capsys, done)
    front = json.loads((done / "front.json").read_text())
    assert (found["study"], found["state"], found["leader"], found["workers"]) == ("tiny", "ended", None, [])
    assert found["done"] + found["pruned"] == front["evaluations"]
    assert found == status(capsys, "--storage", f"sqlite:///{done / 'study.db'}")
    assert main(["status", str(done)]) == 0
    assert capsys.readouterr().out.startswith("tiny: ended, led by nobody\nevaluations: ")


@pytest.mark.slow
def test_the_status_of_a_running_study_names_leader_and_workers(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = open_study(load_space(space), tmp_path / "out")
    ledger = study.ledger
    with Lease(ledger.storage, ledger.study_id, "tiny"):
        for i in range(3):
            ledger.add(Work(f"0|tiny={i}", {"tiny": [i]}, ("tiny", 1.0), hardware_parameters(study.space, 0), "test"))
        first, second, _ = ledger.queue.waiting()
        assert ledger.queue.claim(first)
        heartbeat = Heartbeat(ledger.queue, "elsewhere.1/12/abc")
        heartbeat.hold(first._trial_id)
        ledger.queue.fail(second._trial_id, "it is NaN")
        wait_until(lambda: "alive" in ledger.study.get_trials(deepcopy=False)[0].user_attrs)
        found = status(capsys, tmp_path / "out")
        heartbeat.release(first._trial_id)
    assert found["state"] == "running"
    assert found["leader"]["alive"] is True
    assert f"process {os.getpid()} on" in found["leader"]["process"]
    assert (found["running"], found["waiting"], found["failed"]) == (1, 1, 1)
    (worker,) = found["workers"]
    assert (worker["process"], worker["alive"]) == ("process 12 on elsewhere", None)
    for holder in (found["leader"], worker):
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", holder["last_heartbeat"])
    assert status(capsys, tmp_path / "out")["state"] == "interrupted"


def test_the_status_of_no_study_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "no study with measurements here (study.db is missing)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ---- what a search leaves -------------------------------------------------------------------------


def test_the_log_says_when_what_happened(done: Path) -> None:
    lines = (done / "search.log").read_text().splitlines()
    assert all(re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ \w+: ", line) for line in lines)
    assert re.search(
        rf"begin: study tiny, 500 evaluations, seed 0, .*codesign {re.escape(__version__)}.*torch", lines[0]
    )
    assert any(re.search(r"round: \d+ evaluations, hypervolume ", line) for line in lines)
    assert re.search(r"end: \d+ evaluations; all 64 choices of formats of the space were tried", lines[-1])


@pytest.mark.slow
def test_fewer_evaluations_than_asked_for_are_explained(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(done, tmp_path / "out")
    (tmp_path / "space.yaml").write_text(SPACE)
    assert main(["search", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out"), "--evaluations", "500"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"ended: \d+ evaluations of 500: all 64 choices of formats of the space were tried", said)


def test_the_front_says_what_it_was_made_with(done: Path) -> None:
    made = json.loads((done / "front.json").read_text())["made_with"]
    assert made["codesign"] == __version__
    assert {"torch", "python", "host"} <= made.keys()


@pytest.mark.parametrize(
    "arguments", [["validate", "nowhere.yaml"], ["search", "space.yaml", "--evaluations", "none"], ["serach"]]
)
def test_an_error_is_json_too_where_that_is_asked_for(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    try:
        code = main([*arguments, "--json"])
    except SystemExit as ended:
        code = int(str(ended.code))
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert code == found["exit_code"] == 2
    assert found["error"] in said.err
