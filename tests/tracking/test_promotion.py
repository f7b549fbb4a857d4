import json
import multiprocessing
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from harmoniad.cli import cli
from harmoniad.errors import HarmoniadError
from harmoniad.tracking import promotion, store
from harmoniad.tracking.promotion import promote, rollback
from harmoniad.tracking.registry import register
from harmoniad.tracking.versions import list_versions


@pytest.fixture
def three(project: Any) -> Any:
    """Three versions: 1 was champion, 2 is, 3 was refused."""
    register(project.params, project.train(mean=0.5))
    register(project.params, project.train(weight=2, mean=0.95, data="data-2"))
    register(project.params, project.train(weight=3, mean=0.5, data="data-3"))
    return project


def champion(project: Any) -> int | None:
    return next((row.version for row in list_versions(project.params) if "champion" in row.aliases), None)


def tags_of(version: int) -> dict[str, str]:
    with store.connect() as client:
        return dict(client.get_model_version("harmoniad", str(version)).tags)


def model_tags() -> dict[str, str]:
    with store.connect() as client:
        return dict(client.get_registered_model("harmoniad").tags)


def test_promote_and_roll_back(three: Any) -> None:
    assert promote(three.params, "3") == (
        "harmoniad version 3 is @champion in place of version 2; `harmoniad rollback` undoes it"
    )
    assert champion(three) == 3
    assert (tags_of(2)["promoted_by"], tags_of(3)["promoted_by"]) == ("gate", "hand")
    assert tags_of(3)["gate_decision"] == "kept"  # what the gate said stays
    assert promote(three.params, "@champion") == "harmoniad version 3 is @champion already: nothing to do"

    assert rollback(three.params) == "harmoniad version 2 is @champion again, version 3 no more"
    assert (champion(three), tags_of(3)["rolled_back_to"]) == (2, "2")
    assert rollback(three.params) == "harmoniad version 1 is @champion again, version 2 no more"
    with pytest.raises(HarmoniadError, match="version 1 is the first champion: there is none to go back to"):
        rollback(three.params)
    assert json.loads(model_tags()["champion_history"]) == [1]


def test_rollback_goes_back_step_by_step_however_often_a_version_was_champion(three: Any) -> None:
    promote(three.params, "1")
    promote(three.params, "3")
    assert json.loads(model_tags()["champion_history"]) == [1, 2, 1, 3]
    assert [rollback(three.params).split()[2] for _ in range(3)] == ["1", "2", "1"]


@pytest.mark.parametrize(("tag", "alias", "past"), [([1, 2], 1, [1]), ([1], 2, [1, 2]), ([1, 2], 3, [1, 2, 3])])
def test_history_follows_the_alias_after_a_kill_or_a_move_in_mlflows_pages(
    project: Any, tag: list[int], alias: int, past: list[int]
) -> None:
    with store.connect() as client:
        client.create_registered_model("harmoniad")
        client.set_registered_model_tag("harmoniad", promotion.HISTORY, json.dumps(tag))
        assert promotion.history(client, "harmoniad", alias) == past


def test_errors_are_one_line(three: Any) -> None:
    with pytest.raises(HarmoniadError, match=r"harmoniad has no version 7\. There are 1, 2, 3, @challenger, @champion"):
        promote(three.params, "7")
    with pytest.raises(HarmoniadError, match=r"harmoniad has no version latest\."):
        promote(three.params, "latest")
    with store.connect() as client:
        client.delete_model_version("harmoniad", "1")
    with pytest.raises(HarmoniadError, match=r"version 1, the champion before, cannot be used: harmoniad has no ver"):
        rollback(three.params)
    file = next(path for path in store.ARTIFACTS.rglob("threshold.json") if "models" in path.parts)
    for path in store.ARTIFACTS.rglob("artifacts/model/threshold.json"):
        path.write_text("{}")
    with pytest.raises(HarmoniadError, match="the model's files of harmoniad version 3 were changed since it was reg"):
        promote(three.params, "3")
    for path in store.ARTIFACTS.rglob("artifacts/model/threshold.json"):
        path.unlink()
    assert not file.exists()
    with pytest.raises(HarmoniadError, match="the model's files of harmoniad version 3 are missing in MLflow"):
        promote(three.params, "3")
    assert champion(three) == 2


@pytest.mark.parametrize("arguments", [["promote", "1"], ["rollback"], ["compare", "1", "2"]])
def test_nothing_is_registered_yet(project: Any, arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert "no model is registered yet: run `dvc repro`." in str(result.exception)
    store.DATABASE.unlink()
    result = CliRunner().invoke(cli, arguments)
    assert "no model is registered yet: run `dvc repro`." in str(result.exception)
    assert not store.DATABASE.exists()


def test_registry_without_a_champion(project: Any) -> None:
    register(project.params, project.train())
    with store.connect() as client:
        client.delete_registered_model_alias("harmoniad", "champion")
    with pytest.raises(HarmoniadError, match=r"harmoniad has no @champion\. `harmoniad promote VERSION` makes one"):
        rollback(project.params)
    assert promote(project.params, "1") == "harmoniad version 1 is @champion"


class TestSharedStore:
    """A store that projects share has no lock file: claims in tags take its place."""

    @pytest.fixture
    def shared(self, project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        shutil.move(store.DATABASE, tmp_path / "shared.db")
        with sqlite3.connect(tmp_path / "shared.db") as database:  # a server waits for its database, too
            database.execute("PRAGMA journal_mode = WAL")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'shared.db'}")
        assert not store.is_local()
        with store.connect() as client:
            client.create_registered_model("harmoniad")
            for _ in range(3):
                client.create_model_version("harmoniad", "file:///nowhere")
        return project

    def test_claim_leaves_nothing_behind(self, shared: Any) -> None:
        with store.connect() as client:
            with promotion.claim(client, "harmoniad"):
                (key,) = client.get_registered_model("harmoniad").tags
                assert key.startswith("promoting.")
            assert client.get_registered_model("harmoniad").tags == {}

    def test_claim_of_another_project_is_waited_for(self, shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(promotion, "SECONDS_TO_WAIT", 0.3)
        claim = {"at": time.time(), "workplace": "elsewhere"}
        with store.connect() as client:
            client.set_registered_model_tag("harmoniad", "promoting.a", json.dumps(claim))
            with pytest.raises(HarmoniadError, match="another project has been promoting"):
                promotion.claim(client, "harmoniad").__enter__()
            assert list(client.get_registered_model("harmoniad").tags) == ["promoting.a"]

    @pytest.mark.parametrize("dead", [{"at": 0, "workplace": "elsewhere"}, {"at": time.time() + 60}])
    def test_claim_of_the_dead_is_cleared_away(self, shared: Any, dead: dict[str, Any]) -> None:
        with store.connect() as client:
            claim = {"workplace": promotion.workplace()} | dead
            client.set_registered_model_tag("harmoniad", "promoting.a", json.dumps(claim))
            with promotion.claim(client, "harmoniad"):
                pass
            assert client.get_registered_model("harmoniad").tags == {}

    def test_only_one_of_two_projects_at_once_takes_the_champions_place(self, shared: Any, tmp_path: Path) -> None:
        """Each promotes only if the champion is still the one it was compared with, as the gate does."""
        with store.connect() as client:
            promotion.move(client, "harmoniad", 1, "gate")
        fork = multiprocessing.get_context("fork")
        queue, start = fork.Queue(), fork.Barrier(2)
        processes = [fork.Process(target=replace_1, args=(number, tmp_path, start, queue)) for number in (2, 3)]
        for process in processes:
            process.start()
        outcomes = dict(queue.get(timeout=240) for _ in processes)
        for process in processes:
            process.join()
        assert sorted(outcomes.values()) == [False, True]
        (winner,) = (number for number, won in outcomes.items() if won)
        assert json.loads(model_tags()["champion_history"]) == [1, winner]
        assert champion(shared) == winner

    def test_move_by_other_means_in_that_moment_is_told(self, shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        original = MlflowClient.set_registered_model_alias
        monkeypatch.setattr(
            MlflowClient, "set_registered_model_alias", lambda self, name, alias, _: original(self, name, alias, "3")
        )
        with store.connect() as client, pytest.raises(HarmoniadError, match="somebody else moved @champion of harm"):
            promotion.move(client, "harmoniad", 2, "hand")


def replace_1(number: int, folder: Path, start: Any, queue: Any) -> None:
    """Take the place of version 1 from a project of its own, unless somebody else was faster."""
    import os

    (folder / f"project {number}").mkdir()
    os.chdir(folder / f"project {number}")
    with store.connect() as client:
        start.wait()
        with promotion.alone(), promotion.claim(client, "harmoniad"):
            is_first = promotion.aliases_of_model(client, "harmoniad").get("champion") == 1
            if is_first:
                time.sleep(0.1)
                promotion.move(client, "harmoniad", number, "gate")
    queue.put((number, is_first))
