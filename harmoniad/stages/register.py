"""register: log the run to MLflow, register the model once, and let the gate decide about production."""

from dataclasses import asdict

from harmoniad.files import write_json
from harmoniad.params import Params
from harmoniad.tracking.registry import Registration, register
from harmoniad.tracking.results import Results, read_results
from harmoniad.tracking.store import STORE_DIR

REGISTERED_FILE = STORE_DIR / "registered.json"


def run(params: Params) -> str:
    """Register what the train and evaluate stages left behind.

    Returns:
        One line for people: which version it is and what the gate decided.

    Raises:
        HarmoniadError: A result is missing, or MLflow's store cannot be used.
    """
    results = read_results()
    registration = register(params, results)
    write_json(REGISTERED_FILE, _summary(params, results, registration))
    return _line(params.register_.model_name, registration)


def _summary(params: Params, results: Results, registration: Registration) -> dict[str, object]:
    return {
        "name": params.register_.model_name,
        "version": registration.version,
        "aliases": registration.aliases,
        "data_fingerprint": results.data_fingerprint,
        "test_fingerprint": results.test_fingerprint,
        "decision": "promoted" if registration.decision.promoted else "kept",
        "reasons": registration.decision.reasons,
        "compared_with": registration.compared_with,
        "checks": [asdict(check) for check in registration.decision.checks],
        "mean": results.metrics["mean"],
    }


def _line(name: str, registration: Registration) -> str:
    aliases = ", ".join(f"@{alias}" for alias in registration.aliases) or "no alias"
    version = f"{name} version {registration.version} ({aliases})"
    if not registration.is_same_model:
        return (
            f"register: {version} holds another model of the same data, params and commit. "
            "Commit the changed code to register this one."
        )
    if not registration.is_new:
        return f"register: {version} is this model: nothing to do"
    decision = registration.decision
    verdict = "promoted to champion" if decision.promoted else "the champion stays"
    return f"register: {version}, {verdict}: {'; '.join(decision.reasons)}"
