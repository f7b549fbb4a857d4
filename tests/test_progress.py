import pytest

from harmoniad import progress
from harmoniad.progress import Progress


def test_a_log_gets_lines_with_the_rate_and_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress("encode", 100, "images") as bar:
        bar.advance(5)
        assert capsys.readouterr().err == ""
        now = 110.0
        bar.advance(5, note="loss 0.5")
    assert capsys.readouterr().err == "encode: 10/100 images, 1.0 images/s, 01:30 left, loss 0.5\n"


def test_work_of_an_earlier_run_does_not_count_for_the_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress("train", 100, "steps", done=80) as bar:
        now = 10.0
        bar.advance(10)
    assert capsys.readouterr().err == "train: 90/100 steps, 1.0 steps/s, 00:10 left\n"


def test_slow_work_is_counted_by_the_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress("leaderboard", 10, "entries") as bar:
        now = 120.0
        bar.advance(4)
    assert capsys.readouterr().err == "leaderboard: 4/10 entries, 2.0 entries/min, 03:00 left\n"
