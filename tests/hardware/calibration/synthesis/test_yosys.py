"""Synthesis with a time limit; failures reported beside the results, and kept results taken up again."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from codesign.errors import EnvironmentProblem, InputError
from codesign.hardware.calibration.synthesis.batch import Job, Outcome, SynthesisResult, job_key, synthesize_many
from codesign.hardware.calibration.synthesis.yosys import SynthesisFailed, Tool, find_yosys, synthesize
from tests.hardware.calibration import tiny
from tests.waiting import wait_until

ADDER = "module add(input [3:0] a, input [3:0] b, output [4:0] s); assign s = a + b; endmodule\n"


def fake_tool(folder: Path, script: str) -> Tool:
    """A synthesiser of our own: a shell script."""
    path = folder / "fake-yosys"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Tool("fake", (str(path),), "fake 1")


# Hangs on designs that say so (with a child that would hold on); "maps" the others to one inverter.
SOMETIMES_HANGS = """
if grep -q HANG design.v; then sleep 900 & echo $! > ../child.pid; sleep 60; touch ../survived; fi
if grep -q BROKEN design.v; then echo 'design.v:1: ERROR: syntax error'; exit 1; fi
echo x >> ../runs
echo "Chip area for module '\\\\T': 2.500000"
echo '{"modules": {"T": {"ports": {}, "cells": {"u": {"type": "inv", "connections": {}}}}}}' > netlist.json
touch netlist.v
"""


def job(name: str, merged: Path, text: str = "", limit_s: float = 20) -> Job:
    return Job(name, f"// {name} {text}", "T", merged, 1000, limit_s)


def test_a_unit_is_mapped_to_cells_of_the_library(yosys: Tool, merged: Path, tmp_path: Path) -> None:
    done = synthesize(tiny.ACCUMULATOR, "acc", merged, 1000, 60, tmp_path / "work", yosys)
    areas = {name: row[0] for name, row in tiny.GATES.items()} | {"dff": 8.0}
    assert done.area_um2 == pytest.approx(sum(areas[name] * count for name, count in done.cells.items()))
    assert done.flip_flops == done.cells["dff"] == 8
    assert done.delay_ps is not None
    assert done.delay_ps > 10
    assert "Yosys" in done.tool
    assert "abc -liberty" in done.script
    assert done.netlist_json.exists()
    assert done.netlist_verilog.exists()


def test_a_unit_without_gates_has_no_delay(yosys: Tool, merged: Path, tmp_path: Path) -> None:
    register = "module T(input clk, input d, output reg q); always @(posedge clk) q <= d; endmodule"
    done = synthesize(register, "T", merged, 1000, 60, tmp_path / "work", yosys)
    assert (done.cells, done.delay_ps, done.area_um2) == ({"dff": 1}, 0.0, 8.0)


def test_a_delay_that_the_tool_does_not_tell_is_none_and_not_zero(merged: Path, tmp_path: Path) -> None:
    done = synthesize("", "T", merged, 1000, 20, tmp_path / "work", fake_tool(tmp_path, SOMETIMES_HANGS))
    assert done.cells == {"inv": 1}
    assert done.delay_ps is None


def test_a_syntax_error_is_reported_with_the_tools_own_words(yosys: Tool, merged: Path, tmp_path: Path) -> None:
    with pytest.raises(SynthesisFailed, match="syntax error") as caught:
        synthesize("module T(; endmodule", "T", merged, 1000, 60, tmp_path / "work", yosys)
    assert "design.v:1" in caught.value.reason
    assert caught.value.log


def test_a_cell_that_the_library_lacks_is_a_failure(yosys: Tool, merged: Path, tmp_path: Path) -> None:
    latch = "module T(input e, input d, output reg q); always @* if (e) q = d; endmodule"
    with pytest.raises(SynthesisFailed, match=r"no cell for .*LATCH"):
        synthesize(latch, "T", merged, 1000, 60, tmp_path / "work", yosys)


def test_a_missing_library_is_named(merged: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.lib: no such file"):
        synthesize(ADDER, "add", tmp_path / "gone.lib", 1000, 60, tmp_path / "work", fake_tool(tmp_path, "true"))


def test_a_tool_that_hangs_is_killed_with_its_children(merged: Path, tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, SOMETIMES_HANGS)
    with pytest.raises(SynthesisFailed) as caught:
        synthesize("// HANG", "T", merged, 1000, 0.5, tmp_path / "work", tool)
    assert caught.value.reason == "timed out after 0.5 s"
    child = int((tmp_path / "child.pid").read_text())
    wait_until(lambda: ended(child))


def ended(pid: int) -> bool:
    """Whether a process has ended (or only waits for a parent to collect it)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_job_that_hangs_is_reported_while_the_others_go_on(merged: Path, tmp_path: Path) -> None:
    jobs = [
        job("first", merged),
        job("hangs", merged, "HANG", limit_s=0.5),
        job("broken", merged, "BROKEN"),
        job("last", merged),
    ]
    seen: list[tuple[str, int, int]] = []
    outcomes = synthesize_many(
        jobs,
        tmp_path / "work",
        progress=lambda outcome, done, total: seen.append((outcome.job.name, done, total)),
        tool=fake_tool(tmp_path, SOMETIMES_HANGS),
    )
    assert [outcome.job.name for outcome in outcomes] == ["first", "hangs", "broken", "last"]
    assert [outcome.synthesis is not None for outcome in outcomes] == [True, False, False, True]
    reasons = [outcome.failure.reason for outcome in outcomes if outcome.failure]
    assert reasons == ["timed out after 0.5 s", "design.v:1: ERROR: syntax error"]
    assert [done for _, done, _ in seen] == [1, 2, 3, 4]
    assert {name for name, _, _ in seen} == {"first", "hangs", "broken", "last"}


def test_a_tool_that_cannot_start_is_a_failure_of_each_job(merged: Path, tmp_path: Path) -> None:
    tool = Tool("none", (str(tmp_path / "none"),), "none")
    (outcome,) = synthesize_many([job("one", merged)], tmp_path / "work", tool=tool)
    assert outcome.failure is not None
    assert "cannot be started" in outcome.failure.reason


def test_a_tool_that_writes_no_netlist_is_a_failure(merged: Path, tmp_path: Path) -> None:
    with pytest.raises(SynthesisFailed, match="no netlist"):
        synthesize("", "T", merged, 1000, 20, tmp_path / "work", fake_tool(tmp_path, "true"))


def runs(folder: Path) -> int:
    path = folder / "work" / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_finished_jobs_are_taken_from_the_record(merged: Path, tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, SOMETIMES_HANGS)
    first = synthesize_many([job("a", merged), job("b", merged)], tmp_path / "work", tool=tool)
    again = synthesize_many([job("c", merged), job("b", merged), job("a", merged)], tmp_path / "work", tool=tool)
    assert [outcome.reused for outcome in again] == [False, True, True]
    assert again[2].synthesis == first[0].synthesis
    assert runs(tmp_path) == 3


def test_another_clock_or_library_is_another_result(merged: Path) -> None:
    one = Job("a", "x", "T", merged, 1000)
    assert job_key(one, "sha") == job_key(Job("renamed", "x", "T", merged, 1000, 5), "sha")
    others = {job_key(Job("a", "x", "T", merged, 500), "sha"), job_key(one, "other")}
    others.add(job_key(Job("a", "y", "T", merged, 1000), "sha"))
    assert len(others | {job_key(one, "sha")}) == 4


def test_a_line_cut_short_costs_one_result_only(merged: Path, tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, SOMETIMES_HANGS)
    synthesize_many([job("a", merged), job("b", merged)], tmp_path / "work", parallel=1, tool=tool)
    record = tmp_path / "work" / "results.jsonl"
    record.write_bytes(record.read_bytes()[:-20])
    for _ in range(2):
        outcomes = synthesize_many([job("a", merged), job("b", merged)], tmp_path / "work", tool=tool)
        assert all(outcome.synthesis for outcome in outcomes)
    assert runs(tmp_path) == 3


def test_time_outs_are_kept_unless_there_is_more_time_and_other_failures_are_tried_again(
    merged: Path, tmp_path: Path
) -> None:
    tool = fake_tool(tmp_path, SOMETIMES_HANGS)

    def states(limit_s: float) -> list[Outcome]:
        jobs = [job("hangs", merged, "HANG", limit_s), job("broken", merged, "BROKEN")]
        return synthesize_many(jobs, tmp_path / "work", tool=tool)

    states(0.4)
    assert [outcome.reused for outcome in states(0.3)] == [True, False]
    longer = states(0.6)
    assert [outcome.reused for outcome in longer] == [False, False]
    assert longer[0].failure is not None
    assert longer[0].failure.reason == "timed out after 0.6 s"


def test_a_result_without_its_netlist_is_made_again(merged: Path, tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, SOMETIMES_HANGS)
    (first,) = synthesize_many([job("a", merged)], tmp_path / "work", tool=tool)
    assert first.synthesis is not None
    first.synthesis.netlist_json.unlink()
    (again,) = synthesize_many([job("a", merged)], tmp_path / "work", tool=tool)
    assert not again.reused


def test_an_interruption_stops_what_runs(merged: Path, tmp_path: Path) -> None:
    child = tmp_path / "work" / "child.pid"

    def interrupt(outcome: Outcome, done: int, total: int) -> None:
        wait_until(lambda: child.exists() and child.read_text().endswith("\n"))
        assert not ended(int(child.read_text()))
        raise KeyboardInterrupt

    jobs = [job("quick", merged), job("hangs", merged, "HANG", limit_s=600)]
    with pytest.raises(KeyboardInterrupt):
        synthesize_many(jobs, tmp_path / "work", 2, interrupt, fake_tool(tmp_path, SOMETIMES_HANGS))
    wait_until(lambda: ended(int(child.read_text())))
    assert not (tmp_path / "work" / "survived").exists()


def test_an_unknown_tool_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'yosys'"):
        find_yosys("yosis")


def test_the_tool_can_be_named_by_its_path(tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, "echo 'Yosys 9.9'")
    found = find_yosys(tool.command[0])
    assert found is not None
    assert found.version == "Yosys 9.9"


def test_without_any_tool_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, merged: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_yosys() is None
    with pytest.raises(EnvironmentProblem, match="no yosys: install it"):
        synthesize_many([job("a", merged)], tmp_path / "work")


def test_a_record_says_what_its_line_in_the_file_says() -> None:
    job = '{"key": "k", "name": "a", "clock_ps": 1000, "limit_s": 20'
    made = (
        '"area_um2": 2.5, "cells": {"inv": 1}, "flip_flops": 0, "delay_ps": null, "seconds": 0.1, "tool": "Yosys", '
        '"script": "stat", "netlist_json": "k/netlist.json", "netlist_verilog": "k/netlist.v"'
    )
    for line in (f'{job}, "synthesis": {{{made}}}}}', f'{job}, "reason": "timed out after 20 s", "log": ["x"]}}'):
        assert SynthesisResult.parse(line).line() == line
