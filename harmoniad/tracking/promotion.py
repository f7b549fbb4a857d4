"""Moving `@champion`: by the gate, by hand, and back. Only one at a time, also where projects share a server.

What is guaranteed: nobody moves the alias between the moment in which a promotion reads it and the moment in which it
has moved it, as long as all of them use harmoniad. Within a project a lock file sees to that. MLflow itself has no
compare-and-set, so on a shared store each promotion first writes a claim, a tag of its own on the registered model,
and goes on only if it then sees no other claim. Two that do so at once see each other (whoever reads after a tag was
written sees it), step back and try again after a random time. A claim older than `SECONDS_OF_A_CLAIM` belonged to a
process that died; clocks must not differ by more than that. The alias is read again after it was set, so that a move
by other means (MLflow's pages) in that moment is told and not overlooked.
"""

import contextlib
import datetime
import json
import random
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.params import Params
from harmoniad.tracking import model_files, store
from harmoniad.tracking.run import workplace
from harmoniad.tracking.versions import CHAMPION, aliases_of_model, find

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK = STATE_DIR / "register.lock"
SECONDS_TO_WAIT = 600
SECONDS_OF_A_CLAIM = 600
HISTORY = "champion_history"
LONGEST_HISTORY = 200
_CLAIM = "promoting."


def promote(params: Params, wanted: str) -> str:
    """Make a version the champion by hand, whatever the gate said.

    Args:
        params: Names the model.
        wanted: Number or alias of a version.

    Returns:
        One line for people.

    Raises:
        HarmoniadError: There is no such version, its files are missing or changed, or the store cannot be used.
    """
    with registry(params) as (client, name):
        version = find(client, name, wanted)
        number = int(version.version)
        with model_files.files_of(version):
            pass  # a champion without its files would stop the line
        with claim(client, name):
            before = aliases_of_model(client, name).get(CHAMPION)
            if before == number:
                return f"{name} version {number} is @champion already: nothing to do"
            move(client, name, number, "hand")
    was = f" in place of version {before}; `harmoniad rollback` undoes it" if before else ""
    return f"{name} version {number} is @champion{was}"


def rollback(params: Params) -> str:
    """Give `@champion` back to the version that had it before.

    Returns:
        One line for people.

    Raises:
        HarmoniadError: There is no champion, none before it, it was deleted or lost its files, or the store cannot be
            used.
    """
    with registry(params) as (client, name), claim(client, name):
        champion = aliases_of_model(client, name).get(CHAMPION)
        if champion is None:
            raise HarmoniadError(f"{name} has no @champion. `harmoniad promote VERSION` makes one.")
        past = history(client, name, champion)
        if len(past) < 2:
            raise HarmoniadError(
                f"{name} version {champion} is the first champion: there is none to go back to. "
                "`harmoniad models` lists the versions, `harmoniad promote VERSION` chooses one."
            )
        try:
            with model_files.files_of(find(client, name, str(past[-2]))):
                pass
        except HarmoniadError as error:
            raise HarmoniadError(
                f"version {past[-2]}, the champion before, cannot be used: {error} "
                "Choose another one with `harmoniad promote VERSION`."
            ) from error
        _set_champion(client, name, past[-2], past[:-1])
        client.set_model_version_tag(name, str(champion), "rolled_back_to", str(past[-2]))
        client.set_model_version_tag(name, str(champion), "rolled_back_at", _now())
    return f"{name} version {past[-2]} is @champion again, version {champion} no more"


def move(client: "MlflowClient", name: str, number: int, by: Literal["gate", "hand"]) -> None:
    """Move `@champion` to a version and record it in tags; the caller holds the claim.

    Raises:
        HarmoniadError: Somebody else moved the alias in that moment.
    """
    champion = aliases_of_model(client, name).get(CHAMPION)
    past = history(client, name, champion)
    client.set_model_version_tag(name, str(number), "promoted_at", _now())
    client.set_model_version_tag(name, str(number), "promoted_by", by)
    _set_champion(client, name, number, past if past[-1:] == [number] else [*past, number])


def history(client: "MlflowClient", name: str, champion: int | None) -> list[int]:
    """The champions so far, the present one last.

    The tag is written before the alias moves. So after a kill in between, or a move in MLflow's pages, it is brought in
    line with the alias, which is what counts.
    """
    found = client.search_registered_models(f"name = '{name}'")
    past = [int(number) for number in json.loads(found[0].tags.get(HISTORY, "[]"))] if found else []
    if champion is None:
        return past
    if past[-1:] == [champion]:
        return past
    return past[:-1] if past[-2:-1] == [champion] else [*past, champion]


@contextlib.contextmanager
def registry(params: Params) -> Iterator[tuple["MlflowClient", str]]:
    """Open the registry, alone in this project, and give the name of the model in it.

    Raises:
        HarmoniadError: Nothing is registered yet, or the store cannot be used.
    """
    if store.is_local() and not store.DATABASE.is_file():
        raise HarmoniadError("no model is registered yet: run `dvc repro`.")
    name = params.register_.model_name
    with alone(), store.connect() as client:
        if not client.search_registered_models(f"name = '{name}'"):
            raise HarmoniadError("no model is registered yet: run `dvc repro`.")
        yield client, name


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one registration or promotion at a time work in this project.

    Raises:
        HarmoniadError: Another one does not end.
    """
    import filelock

    LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(LOCK, timeout=SECONDS_TO_WAIT):
            yield
    except filelock.Timeout as error:
        raise HarmoniadError(
            f"{LOCK.as_posix()}: another registration has been running for {SECONDS_TO_WAIT // 60} minutes. "
            "Wait for it or end it."
        ) from error


@contextlib.contextmanager
def claim(client: "MlflowClient", name: str) -> Iterator[None]:
    """Let one promotion at a time work on a store that projects share; the caller is `alone` in its own.

    Raises:
        HarmoniadError: Others claim the champion all the time.
    """
    if store.is_local():
        yield
        return
    ours, place = f"{_CLAIM}{uuid.uuid4().hex}", workplace()
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while True:
        begun = time.monotonic()
        client.set_registered_model_tag(name, ours, json.dumps({"at": time.time(), "workplace": place}))
        try:
            if not _others(client, name, ours, place):
                break
        except BaseException:
            client.delete_registered_model_tag(name, ours)
            raise
        client.delete_registered_model_tag(name, ours)
        if time.monotonic() > deadline:
            raise HarmoniadError(
                f"another project has been promoting a version of {name} for {SECONDS_TO_WAIT // 60} minutes. "
                "Run the same command again."
            )
        # With pauses short beside an attempt, two projects at a slow server would step back in step, for minutes.
        time.sleep(random.uniform(0.05, max(0.5, 4 * (time.monotonic() - begun))))
    try:
        yield
    finally:
        client.delete_registered_model_tag(name, ours)


def _others(client: "MlflowClient", name: str, ours: str, place: str) -> list[str]:
    """The claims of others that live; those of the dead are deleted."""
    living = []
    for key, value in _model_tags(client, name).items():
        if key.startswith(_CLAIM) and key != ours:
            content = json.loads(value)
            # This project's lock is ours, so another claim of this project is a dead process's.
            if content["workplace"] == place or abs(time.time() - content["at"]) > SECONDS_OF_A_CLAIM:
                with contextlib.suppress(Exception):  # its owner or somebody else deletes it in the same moment
                    client.delete_registered_model_tag(name, key)
            else:
                living.append(key)
    return living


def _model_tags(client: "MlflowClient", name: str) -> dict[str, Any]:
    return dict(client.get_registered_model(name).tags)


def _set_champion(client: "MlflowClient", name: str, number: int, past: list[int]) -> None:
    client.set_registered_model_tag(name, HISTORY, json.dumps(past[-LONGEST_HISTORY:]))
    client.set_registered_model_alias(name, CHAMPION, str(number))
    if aliases_of_model(client, name).get(CHAMPION) != number:
        raise HarmoniadError(f"somebody else moved @champion of {name} in this moment. Run the same command again.")


def _now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
