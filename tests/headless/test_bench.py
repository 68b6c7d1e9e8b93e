"""The benchmark runs, and its tables hold every case."""

import json

import pytest
from ipadapter_pack.tests.bench import calls, report
from ipadapter_pack.tests.bench.settings import Settings
from ipadapter_pack.tests.bench.sizes import SMALL

SMALLEST = Settings(
    SMALL, layouts=("SD1.5",), references=(1, 2), latent=8, rounds=1, calls=1, pictures=1, starts=0
)


@pytest.fixture(scope="module")
def results():
    return report.measure(SMALLEST)


def test_bench_measures_every_case(results):
    cases = list(SMALLEST.cases())
    for topic in report.OF_A_SCENE:
        rows = results["topics"][topic.title]
        if topic.title == "Apply":
            assert [row["kind"] for row in rows] == ["base", "Plus"]
        elif topic.title != "Peak memory on the GPU":
            assert [(row["kind"], row["references"]) for row in rows] == cases


def test_bench_the_two_ways_agree_and_the_bound_holds(results):
    assert report.broken(results) == []


def test_bench_says_what_is_broken(results):
    broken = json.loads(json.dumps(results))
    broken["topics"][report.KERNELS.title][0]["ours"] = calls.BOUND + 1.0
    assert "ours is 9, allowed 8" in report.broken(broken)[0]


def test_bench_writes_both_files(results, tmp_path):
    report.write(results, tmp_path, "cpu")
    assert json.loads((tmp_path / "cpu.json").read_text()) == results
    page = (tmp_path / "cpu.md").read_text()
    for topic in report.OF_A_SCENE + report.OF_THE_PACK:
        assert f"## {topic.title}" in page
        assert topic.says in page
    for row in results["topics"]["Time of a UNet call"]:
        assert report.shown(row["ours, ms"]) in page
