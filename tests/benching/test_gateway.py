"""The comparison of the gateway with others: that it runs, checks what it counts, and judges."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.gateway.goals import GOALS, Goal
from bench.gateway.lasting import Loss
from bench.gateway.load import Failed, Sample, load
from bench.gateway.origin import Origin, origin
from bench.gateway.report import alone, as_rows, compared, table
from bench.gateway.targets import Target, plain_nginx
from bench.gateway.tools import Tools, debian_tools
from bench.gateway.workloads import WORKLOADS, Runner, Samples

ROOT = Path(__file__).parents[2]
needs_tools = pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("wrk")), reason="nginx and wrk are not installed"
)


@needs_tools
def test_a_quick_run_prints_what_it_measured() -> None:
    command = [sys.executable, "-m", "bench.gateway", "--quick", "--targets", "nginx"]
    workloads = "json,stream,leave,memory"
    done = subprocess.run(
        [*command, "--workloads", workloads], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    assert re.search(
        r"\| CPU per request: JSON, 64 connections \| nginx \| [\d.]+ times as much \|"
        r" at most 1.6 times as much \| (met|MISSED) \|",
        done.stdout,
    )
    assert re.search(
        r"\| Longest until the provider .* \(of 8 calls\) \| serai \| [\d.]+ ms", done.stdout
    )
    assert re.search(r"\| Growth of resident memory \(\d+ MB\) over [\d,]+ requests", done.stdout)
    assert re.search(r"\| JSON, 64 connections \| serai \| 1 \| [\d.,]+ \| [\d,]+ \|", done.stdout)
    if "no streams" not in done.stderr:
        assert "Stream of 52 events, 16 connections | nginx" in done.stdout


def test_what_is_unknown_is_said() -> None:
    command = [sys.executable, "-m", "bench.gateway", "--targets", "nginx,envoy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unknown: envoy; there are serai, nginx" in done.stderr


def test_without_its_tools_it_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import bench.gateway.tools as tools, pathlib; tools._DEBIAN = pathlib.Path('nowhere')\n"
        "import sys; sys.argv = ['bench', '--quick']\n"
        "from bench.gateway.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "skipped: nginx is not installed (Debian: apt-get install nginx wrk" in done.stdout


@pytest.fixture
def tools() -> Tools:
    return debian_tools()


@pytest.fixture
def behind(tools: Tools, tmp_path: Path) -> Iterator[Origin]:
    with origin(tools, tmp_path) as ports:
        yield ports


@pytest.fixture
def nginx(tools: Tools, behind: Origin, tmp_path: Path) -> Iterator[Target]:
    with plain_nginx(tools, behind, tmp_path) as target:
        yield target


@needs_tools
def test_load_counts_requests_and_what_the_target_used(
    tools: Tools, nginx: Target, tmp_path: Path
) -> None:
    sample = load(tools, nginx, "json", 4, 1, tmp_path)
    assert sample.requests > 100
    assert 1 < sample.cpu_us < 10_000
    assert sample.cpu_us * sample.requests == pytest.approx(sample.core * sample.seconds * 1e6)
    assert 0 < sample.p50_ms <= sample.p99_ms


@needs_tools
def test_a_wrong_reply_is_an_error(tools: Tools, nginx: Target, tmp_path: Path) -> None:
    missing = nginx._replace(path=nginx.path | {"json": "/nowhere"})
    with pytest.raises(Failed, match=r"replies were wrong .* for example: 404"):
        load(tools, missing, "json", 4, 1, tmp_path)
    other = nginx._replace(path=nginx.path | {"stream": nginx.path["json"]})
    with pytest.raises(Failed, match=r"replies were wrong .* for example: 200"):
        load(tools, other, "stream", 4, 1, tmp_path)


@needs_tools
def test_rounds_go_on_without_a_target_that_fails(
    tools: Tools, behind: Origin, nginx: Target, tmp_path: Path
) -> None:
    broken = nginx._replace(path=dict.fromkeys(nginx.path, "/nowhere"))
    direct = nginx._replace(port=behind.slow) if behind.slow else None
    lane = next(workload for workload in WORKLOADS if workload.name == "slow")
    if direct is None:
        lane = lane._replace(lane="json")
    runner = Runner(tools, tmp_path, {"nginx": nginx, "serai": broken}, True, direct)
    samples = runner.rounds([lane], 2)["slow"]
    assert "serai" not in samples
    assert {len(found) for found in samples.values()} == {2}
    assert not list(compared({"slow": samples}))


def of(*figures: float, p50: float = 1.0, core: float = 0.1) -> list[Sample]:
    return [Sample(100, 1.0, figure, core, p50, 2.0) for figure in figures]


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    samples: Samples = {
        "json": {"serai": of(30, 60, 20), "nginx": of(20, 30, 10), "tensorzero": of(60, 240, 100)}
    }
    lines = list(compared(samples))
    assert [line.figure for line in lines] == ["2.00 times as much", "4.0 times less"]
    assert [line.met for line in lines] == [False, True]
    assert "| nginx | 2.00 times as much | at most 1.6 times as much | MISSED |" in table(lines)
    assert as_rows(samples)[0].met is False


def test_added_time_and_paced_streams_are_judged_by_serai_s_own() -> None:
    samples: Samples = {
        "slow": {
            "serai": of(1, p50=51.2),
            "nginx": of(1, p50=51.0),
            "direct": of(1, p50=51.0),
        },
        "paced": {"serai": of(1, core=0.31), "nginx": of(1, core=0.2)},
    }
    told = [(line.against, line.figure, line.met) for line in alone(samples)]
    assert told == [
        ("serai", "0.20 ms", True),
        ("nginx", "0.00 ms", None),
        ("serai", "31%", False),
        ("nginx", "20%", None),
    ]


def test_goals_are_those_of_the_table() -> None:
    assert Goal("json", "nginx", 1.6) in GOALS
    assert Goal("json", "litellm", 200, times_better=True) in GOALS
    assert all(goal.is_met(goal.limit) for goal in GOALS)
    assert not any(goal.is_met(goal.limit * (0.9 if goal.times_better else 1.1)) for goal in GOALS)


def test_the_oldest_lost_call_tells_how_much_a_crash_lost() -> None:
    assert Loss([5.0, 1.0, 9.5], 2, died=10.0).age == 0.5
    assert Loss([1.0, 2.0], 2, died=10.0).age == 0
    assert Loss([1.0, 2.0], 3, died=10.0).age == 0
