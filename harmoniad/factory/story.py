"""What happened in a retraining, told in one paragraph with links."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmoniad.environment import STATE_DIR
from harmoniad.files import read_json, write_json

TOLD = STATE_DIR / "told.json"  # the last version that somebody was told of
REASONS_SHOWN = 4
_ENDS = {
    "Waiting": ("waiting", "no retraining yet"),
    "Drift": ("drift", "a person should look: the new images differ"),
}
FIGURE_TOLD = "mean image AUROC"  # a line of the gate's table


@dataclass
class Story:
    """A retraining as far as it came; None stands for what it did not come to or had no reason to do.

    Attributes:
        ingested: `results/ingest/report.json`.
        drift: The decision of `harmoniad.factory.drift`.
        ended: The name of the state in which it ended before its stages, such as `Drift`; empty if it did not.
        registered: `mlflow/store/registered.json`.
        commit: The results' commit.
        warnings: What could not be done, though the retraining went on.
    """

    ingested: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None
    ended: str = ""
    registered: dict[str, Any] | None = None
    commit: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Message:
    """What is sent.

    Attributes:
        status: `promoted`, `kept`, `unchanged`, `waiting`, `drift` or `failed`.
        title: A line.
        paragraph: The whole story.
        links: Name and address, or the command that opens it.
    """

    status: str
    title: str
    paragraph: str
    links: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Paragraph and links."""
        return "\n".join([self.paragraph, *(f"{name}: {address}" for name, address in self.links.items())])


def compose(story: Story, project: str, error: Exception | None = None, links: dict[str, str] | None = None) -> Message:
    """Tell a story.

    Args:
        story: What happened.
        project: What people call this project.
        error: Why the retraining failed, if it did.
        links: See `Message`.
    """
    status, title = _outcome(story, error)
    parts = [_came(story.ingested), _drift(story.drift), _decision(story, status)]
    if error is not None:
        stage = getattr(error, "stage", "")
        parts.append(f"It failed{f' in the stage `{stage}`' if stage else ''}: {_sentence(str(error))}")
    parts += [_sentence(warning.removeprefix("warning: ")) for warning in story.warnings]
    paragraph = " ".join(filter(None, [f"{title}.", *parts]))
    return Message(status, f"{project}: {title}", f"{project}: {' '.join(paragraph.split())}", links or {})


def remember(story: Story) -> None:
    """Do not tell of the same version as something new a second time."""
    if story.registered is not None:
        write_json(TOLD, {"version": story.registered["version"]})


def _outcome(story: Story, error: Exception | None) -> tuple[str, str]:
    if error is not None:
        return "failed", "the retraining failed"
    if story.ended:
        return _ENDS[story.ended]
    if story.registered is None:
        return "unchanged", "nothing was registered"
    version = f"version {story.registered['version']}"
    if not _is_new(story.registered):
        return "unchanged", f"the model is still {version}"
    if story.registered["decision"] == "promoted":
        return "promoted", f"{version} is the new champion"
    return "kept", f"{version} was refused, the champion stays"


def _is_new(registered: dict[str, Any]) -> bool:
    return not TOLD.is_file() or read_json(TOLD).get("version") != registered["version"]


def _came(ingested: dict[str, Any] | None) -> str:
    if ingested is None:
        return "No image came in."
    kinds = Counter((image["category"], image["defect"]) for image in ingested["taken"])
    taken = ", ".join(
        f"{category} {count} {'good' if kind == 'good' else f'with {kind}'}"
        for (category, kind), count in sorted(kinds.items())
    )
    parts = [f"{kinds.total()} new images{f' ({taken})' if taken else ''} came in"]
    refused = ingested["quarantined"]
    if refused:
        file, reasons = next(iter(refused.items()))
        parts.append(f"{len(refused)} went to quarantine, such as {file} ({'; '.join(reasons)})")
    if ingested["waiting"]:
        parts.append(f"{len(ingested['waiting'])} files wait in the inbox")
    return _sentence("; ".join(parts))


def _drift(drift: dict[str, Any] | None) -> str:
    if drift is None:
        return ""
    why = f" (no comparison: {drift['skipped']})" if drift.get("skipped") else ""
    decision = drift["decision"].removeprefix("drift: ")
    return _sentence(f"Drift: {decision}: {_some(drift['reasons'])}{why}")


def _decision(story: Story, status: str) -> str:
    registered = story.registered
    if registered is None or status not in ("promoted", "kept"):
        return ""
    verb = "promoted" if status == "promoted" else "refused"
    of = f"{registered['name']} version {registered['version']}"
    parts = [f"The gate {verb} {of}: {_some(registered['reasons'])}"]
    figures = next((check for check in registered.get("checks", []) if check["name"] == FIGURE_TOLD), None)
    if figures and figures["challenger"] is not None:
        before = "" if figures["champion"] is None else f", the champion before {figures['champion']:.4f}"
        parts.append(f"{FIGURE_TOLD} of the new version {figures['challenger']:.4f}{before}, on the same images")
    if story.commit:
        parts.append(f"commit {story.commit[:10]}")
    return _sentence("; ".join(parts))


def _some(reasons: list[str]) -> str:
    more = f"; and {len(reasons) - REASONS_SHOWN} more" if len(reasons) > REASONS_SHOWN else ""
    return "; ".join(reasons[:REASONS_SHOWN]) + more


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def page_of(path: Path) -> dict[str, str]:
    """The link to a page that may not be there."""
    return {"report": path.resolve().as_uri()} if path.is_file() else {}
