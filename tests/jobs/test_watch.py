"""Watching: looks that grow seldom, the deadline to the second, the live table."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs_base import raises

from afina.jobs import ledger, watch
from afina.jobs.watch import Hiccup, JobEnded, View, sparkline, wait


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self):
        self.now, self.naps = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


def told():
    return "pedi ao serviço que o pare"


def test_looks_grow_seldom_and_hiccups_are_outlived(clock):
    states = iter(["running"] * 12 + ["broken"] * 3 + ["running", "succeeded"])

    def look():
        state = next(states)
        if state == "broken":
            raise Hiccup("APIConnectionError")
        return View(state, state, done=state == "succeeded")

    assert wait(look, "job", 10_000, told, local=False, show=True) == "succeeded"
    assert clock.naps == sorted(clock.naps) and clock.naps[0] == 5 and clock.naps[-1] == 60


@settings(max_examples=25, deadline=None)
@given(deadline=st.floats(0, 5000))
def test_the_deadline_holds_to_the_second_and_stops_the_job(deadline):
    clock, stopped = Clock(), []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(JobEnded) as caught:
        patch.setattr(watch, "time", clock)
        view = View(None, "queued")
        wait(lambda: view, "job", deadline, lambda: stopped.append(clock.now) or "parado", False, False)
    assert caught.value.status == "deadline" and len(stopped) == 1
    assert deadline <= stopped[0] <= deadline + 1e-6


def test_a_service_that_never_answers_is_named_at_the_deadline(clock):
    def look():
        raise Hiccup("InternalServerError")

    error = raises("sem resposta .InternalServerError", wait, look, "job", 100, told, False, False)
    assert error.job is None


def test_a_terminal_gets_a_line_a_change_and_a_silent_run_none(clock, monkeypatch, capsys):
    def look():
        step = min(3, len(clock.naps))
        return View(
            None, "running", step == 3, rows=[("último evento", f"Step {step}")], losses=[3.0, 2.0, 1.0][: step + 1]
        )

    wait(look, "job", 100, told, True, True)
    assert capsys.readouterr().out == ""
    clock.naps.clear()
    monkeypatch.setenv("AFINA_PROGRESS", "1")
    wait(look, "job", 100, told, True, True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[-1] == "job · running · Step 3 · █▅▁ 1.000"


@given(st.lists(st.floats(-1e6, 1e6), max_size=200))
def test_a_sparkline_is_never_wider_than_asked_and_spans_its_values(values):
    line = sparkline(values, 20)
    assert len(line) == min(20, len(values))
    if len(values) <= 20 and len(set(values)) > 1:
        assert line[values.index(max(values))] == "█" and line[values.index(min(values))] == "▁"


# --- the ledger beside it --------------------------------------------------------------------------------------------

PLACE = ("openai", "https://api.example")


def followed(look, stop=lambda: None, deadline=100):
    made = [("openai-model", "ft", "ft"), ("openai-file", "results", "results")]
    return watch.follow("job-1", "job-1", PLACE, look, stop, lambda answer: made, deadline, False)


def noted():
    return sorted(entry.id for entry in ledger.entries(PLACE[1]))


def test_a_job_that_is_done_leaves_what_it_made_in_the_ledger_once(clock):
    ledger.note("openai-job", "job", *PLACE, id="job-1")
    ledger.note("openai-file", "results", *PLACE, id="results")
    assert followed(lambda: View("answer", "succeeded", done=True)) == "answer"
    assert noted() == ["ft", "results"]


@pytest.mark.parametrize(("status", "stays"), [("failed", []), ("cancelled", []), ("paused", ["job-1"])])
def test_a_job_without_a_model_leaves_the_ledger_when_it_is_over(clock, status, stays):
    ledger.note("openai-job", "job", *PLACE, id="job-1")
    raises("acabou", followed, lambda: View(None, status, end=JobEnded(status, "acabou", "", "job-1")))
    assert noted() == stays


def test_a_service_that_will_not_stop_a_job_is_told_at_the_deadline(clock):
    ledger.note("openai-job", "job", *PLACE, id="job-1")

    def stop():
        raise ConnectionError("sem rede")

    error = raises("pedi que parasse, e o serviço não aceitou .sem rede", followed, lambda: View(None, "running"), stop)
    assert isinstance(error, JobEnded) and error.status == "deadline" and noted() == ["job-1"]
