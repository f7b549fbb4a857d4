import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harmoniad import cli
from harmoniad.errors import HarmoniadError

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_help_answers_at_once(tmp_path: Path, command: Command) -> None:
    times = []
    for _ in range(5):
        start = seconds_of_children()
        text = command("harmoniad", "--help", cwd=tmp_path).stdout
        times.append(seconds_of_children() - start)
    assert min(times) < 0.5
    for name in ("data", "sample", "retrain", "models", "weights", "prepare", "validate", "encode", "train"):
        assert name in text
    assert list(tmp_path.iterdir()) == []  # no folder is made on the way


def seconds_of_children() -> float:
    """How long processors have worked for ended children; other tests that run meanwhile do not count."""
    used = os.times()
    return used.children_user + used.children_system


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, harmoniad.cli; heavy = 'torch mlflow prefect great_expectations pandas numpy dvc pydantic'; "
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_the_end_of_a_command_does_not_search_what_its_libraries_brought(tmp_path: Path) -> None:
    code = (
        "import atexit, gc, sys; from harmoniad.cli import main\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000))\n"  # runs after what is registered later
        "sys.argv = ['harmoniad', '--version']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "params.yaml: no such file. Run harmoniad in the project's folder."),
        (["prepare", "sample"], "params.yaml: no such file"),
        (["data", "add", "nowhere"], "nowhere"),
        (["summary"], "params.yaml: no such file"),
    ],
)
def test_an_error_is_one_line_and_exit_code_one(
    tmp_path: Path, command: Command, arguments: list[str], words: str
) -> None:
    result = command("harmoniad", *arguments, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_a_wrong_word_shows_the_usage(tmp_path: Path, command: Command) -> None:
    result = command("harmoniad", "trian", cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert "No such command 'trian'" in result.stderr


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (HarmoniadError("a\nb"), "error: a b\n", 1),
        (KeyboardInterrupt(), "error: stopped. Run the same command again: it goes on where it was.\n", 130),
        (PermissionError(13, "Permission denied", "data/x"), "error: data/x: Permission denied\n", 1),
    ],
)
def test_every_mendable_error_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, line: str, code: int
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "cli", fail)
    monkeypatch.setattr(cli, "_speak_any_alphabet", lambda: None)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == code
    assert capsys.readouterr().err == line


def test_module_and_command_are_the_same(tmp_path: Path, command: Command) -> None:
    assert "0.1.0" in command("harmoniad", "--version", cwd=tmp_path).stdout
    result = command("python", "-m", "harmoniad", "--version", cwd=tmp_path)
    assert "0.1.0" in result.stdout
