"""The benchmark runs, and its tables hold every case."""

import json

import pytest
from ipadapter_pack.tests.bench import calls, report
from ipadapter_pack.tests.bench.settings import Budget, Settings
from ipadapter_pack.tests.bench.sizes import SMALL


class Clock:
    """Stands still until told."""

    now = 0.0

    def __call__(self):
        return self.now


def smallest(clock):
    return Settings(
        SMALL, Budget(60, clock), layouts=("SD1.5",), references=(1, 2), latent=8, rounds=1,
        calls=1, pictures=1, starts=0,
    )  # fmt: skip


SMALLEST = smallest(Clock())


@pytest.fixture(scope="module")
def results():
    *_, (_, results) = report.measure(SMALLEST)
    return results


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


def test_bench_headline_comes_first_and_has_every_kind(results):
    title, nothing, *lines = report.markdown(results).splitlines()
    assert title.startswith("# ")
    assert not nothing
    assert "\n".join(lines).startswith(report.headline(results))
    for line, kind in zip(lines[2:4], SMALLEST.kinds, strict=True):
        _, layout, adapter, counts, kernels, syncs, times, *_ = map(str.strip, line.split("|"))
        assert (layout, adapter, counts, syncs) == ("SD1.5", kind, "1 / 2", "0 / 0")
        for cell, topic, column in (
            (kernels, report.KERNELS, "ours"),
            (times, report.TIME, "ours / plain"),
        ):
            rows = [row for row in results["topics"][topic.title] if row["kind"] == kind]
            assert cell == " / ".join(report.shown(row[column]) for row in rows)


def test_bench_says_which_measurement_runs_and_where_time_is_up():
    clock, shown = Clock(), []

    def show(line):
        shown.append(line)
        if "row 1" in line:
            clock.now = 60.0

    *_, (_, results) = report.measure(smallest(clock), show)
    number = len(report.OF_A_SCENE) + len(report.OF_THE_PACK)
    assert shown[0].startswith(f"measurement 1 of {number}, SD1.5: {report.KERNELS.title}")
    assert len(results["topics"][report.KERNELS.title]) == 1
    assert results["topics"][report.TIME.title] == []
    assert len(results["cut short"]) == number
    assert f"time was up: SD1.5: {report.TIME.title}, after 0 rows" in report.markdown(results)
    assert report.broken(results) == []


def test_bench_keeps_a_table_after_each_measurement():
    _, results = next(report.measure(smallest(Clock())))
    assert len(results["topics"][report.KERNELS.title]) == 4
    assert "Not measured in this run." in report.markdown(results)


def test_bench_repeats_end_with_their_share_of_the_time():
    clock = Clock()
    budget = Budget(100, clock)

    def counted(most, share):
        count = 0
        for _ in budget.repeats(most, share):
            count += 1
            clock.now += 4
        return count

    assert counted(most=3, share=0.2) == 3
    assert counted(most=100, share=0.2) == 5
    assert counted(most=100, share=0.01) == 1
    clock.now = 90
    assert counted(most=100, share=1.0) == 3  # the whole run's time is up
    assert budget.over
