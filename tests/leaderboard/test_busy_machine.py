import pytest

from flows import retraining
from harmoniad.errors import HarmoniadError


def test_a_temporary_server_that_is_too_slow_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out() -> None:
        raise RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server.")

    monkeypatch.setattr(retraining, "_connect", time_out)
    with pytest.raises(HarmoniadError, match=r"^the leaderboard: Prefect's temporary server .* Run it again\.$"):
        retraining.on_a_server(lambda: None, "the leaderboard")
