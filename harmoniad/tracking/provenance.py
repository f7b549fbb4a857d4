"""What a model was made from: the commit, the data, the parameters, and a digest of the model itself."""

import hashlib
import subprocess
from pathlib import Path

from harmoniad.files import sha256_file, sha256_json
from harmoniad.params import Params

NONE = "none"
# The pipeline itself rewrites these, so a change in them says nothing about the code.
_MADE_BY_THE_PIPELINE = [":(exclude)dvc.lock", ":(exclude)*.dvc", ":(exclude)results"]


def git_commit() -> str:
    """The commit that is checked out; "none" without git, a repository or a commit."""
    return _git("rev-parse", "--verify", "HEAD") or NONE


def git_is_dirty() -> bool:
    """Whether tracked files differ from the commit, apart from those that the pipeline writes itself."""
    return bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", *_MADE_BY_THE_PIPELINE))


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, "none" if it does not exist."""
    return sha256_file(path) if path.is_file() else NONE


def registration_key(data_fingerprint: str, params: Params, commit: str) -> str:
    """One key for the same data, parameters and commit: it never gets a second version."""
    content = {
        "data_fingerprint": data_fingerprint,
        "params": params.model_dump(mode="json", by_alias=True, exclude={"notify"}),
        "git_commit": commit,
    }
    return sha256_json(content)


def folder_digest(folder: Path) -> str:
    """The SHA-256 over the names and contents of the files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\0{sha256_file(path)}\0".encode())
    return digest.hexdigest()
