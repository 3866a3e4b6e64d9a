"""Files from the Hugging Face Hub, through its client and the client's cache.

Nothing here is called before a visitor or the operator asked for the Hub.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ANSWER_S = 3.0  # for the Hub's word on one file, before its cache has to do

Result = TypeVar("Result")


class Counter:
    """Stands for the client's progress bar, and tells another how far it is.

    No tqdm, which would keep itself alive in a thread of its own. The client's two ways of
    downloading (plain HTTP, and Xet where hf_xet is installed) ask for these methods.
    """

    def __init__(self, *_: Any, initial: int = 0, total: int | None = None, **__: Any) -> None:
        self.n, self.total = initial, total or 0

    def tell(self, done: int, total: int) -> None:
        """Called with the bytes so far and all bytes."""

    def update(self, n: float | None = 1) -> None:
        self.n += int(n or 0)
        self.tell(self.n, self.total)

    def nothing(self, *_: Any, **__: Any) -> None:
        """What a bar would do for the eye."""

    update_transfer = set_postfix_str = set_transfer_postfix_str = refresh = close = __exit__ = nothing

    def __enter__(self) -> "Counter":
        return self


def cached(repository: str, file: str, revision: str) -> Path | None:
    """Where a file of the Hub lies in the client's cache, None if it does not; asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def fetch(
    repository: str,
    file: str,
    revision: str,
    *,
    limit_mb: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Bring a file of the Hub into the client's cache; one of a commit that is there already needs no network.

    revision  a commit, or a branch
    limit_mb  what the Hub says is larger (or of unknown size) is not downloaded, MB
    progress  called with the bytes so far and all bytes; what it raises ends the download
    raises    OSError, naming the file, if the Hub does not deliver it, or it is larger than the limit
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    class Bar(Counter):
        """Of this download."""

        def tell(self, done: int, total: int) -> None:
            if progress:
                progress(done, total)

    patience: Any = {"revision": revision, "etag_timeout": ANSWER_S}
    try:
        if limit_mb is not None:
            size = hf_hub_download(repository, file, dry_run=True, **patience).file_size
            if size is None or size > 1e6 * limit_mb:
                found = "a size that the Hub does not tell" if size is None else f"{size / 1e6:.0f} MB"
                raise OSError(f"it has {found}, at most {limit_mb:g} MB are loaded")
            if progress:
                progress(0, size)  # the client tells again after its first 10 MB
        return Path(hf_hub_download(repository, file, tqdm_class=Bar, **patience))
    # A body that breaks off is an HTTPError but no OSError; a name that the client refuses is a
    # ValueError; its session, closed after another thread's failed connection, a RuntimeError.
    except (OSError, HTTPError, ValueError, RuntimeError) as error:
        raise OSError(f"{file}: {error}") from error


def discard(path: Path) -> None:
    """Take a damaged file out of the client's cache: it never asks again for a file of a commit."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def within(budget_s: float, work: Callable[[], Result]) -> Result:
    """The result of `work`, or TimeoutError after `budget_s`.

    The client's own time-outs start anew with every chunk, so a server that drips would hold
    a page for minutes. The thread is left to finish: the next start finds the file in the cache.
    """
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001, handed to the caller's thread below, not swallowed
            failure.append(error)

    thread = threading.Thread(target=run, name="hub download", daemon=True)
    thread.start()
    thread.join(budget_s)
    if failure:
        raise failure[0]
    if not outcome:
        raise TimeoutError(f"no answer within {budget_s:g} s")
    return outcome[0]
