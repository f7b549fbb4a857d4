"""What a server may be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harmoniad.environment import STATE_DIR

if TYPE_CHECKING:
    from harmoniad.features.encoders import Precision

Keep = Literal["flagged", "all", "none"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """The options of `harmoniad serve-model`.

    Attributes:
        model: What `harmoniad.load` takes; an alias is followed when it moves.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: Of the encoder on a CPU.
        host: Address to listen on.
        port: 0 takes a free one.
        token: What requests must carry; empty asks for none.
        allowed_hosts: Names under which the server may be called; empty allows loopback's on loopback, any elsewhere.
        max_bytes: Of a request.
        max_pixels: Of an image.
        queue: Requests for a prediction that may be under way at once.
        batch: Images that the model sees at once at most.
        wait_ms: How long a batch waits for images that are under way.
        poll_seconds: How often the registry is asked whether the alias has moved.
        review_dir: Where images for the review page and the log of decisions are kept.
        keep: Which images are kept for review.
        keep_images: How many; then the oldest go, those first that are decided.
        keep_bytes: On disk, all of them together.
        data_set: The set in `data/inbox` that a decision writes an image to.
        kinds: Kinds of defects that a person may choose from.
    """

    model: str = "champion"
    device: str = "auto"
    precision: "Precision" = "float32"
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    allowed_hosts: tuple[str, ...] = ()
    max_bytes: int = 20_000_000
    max_pixels: int = 30_000_000
    queue: int = 64
    batch: int = 16
    wait_ms: float = 3
    poll_seconds: float = 10
    review_dir: Path = STATE_DIR / "review"
    keep: Keep = "flagged"
    keep_images: int = 1000
    keep_bytes: int = 2_000_000_000
    data_set: str = "line"
    kinds: tuple[str, ...] = ("other",)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK

    @property
    def names(self) -> tuple[str, ...]:
        """Names under which the server may be called; none where any will do."""
        if self.allowed_hosts:
            return (*self.allowed_hosts, *LOOPBACK)
        return LOOPBACK if self.is_loopback else ()
