"""Runs to the Hugging Face Hub: what would be sent, and sending it, each run as one commit of a repository of its own.

    hub = Hub(token=…)
    plan = hub.plan(card, run, owner, picture)
    print(plan.text())  # a dry run ends here
    record(run.name, plan.repository, hub.send(plan))

A plan is made by comparing with what the Hub has, so an unchanged run sends nothing, and a
publication that broke off is taken up where it was: the repository is there, weights that
arrived are not sent again, and a commit whose answer was lost is found.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from tempfile import NamedTemporaryFile
from typing import Any

from core import model_card, store
from core.card import Card
from core.hub import fetch
from core.store import Run

CARD_FILE, PICTURE_FILE = "README.md", "answer.png"
KEPT = {".gitattributes"}  # the Hub's own, written when a repository is made


class CannotPublish(RuntimeError):
    """Why something was not published; the message is a sentence for the one who publishes."""


def repository_name(run: str) -> str:
    """What a run's repository is called below its owner: "mc_dropout/dropout" -> "vitrine-mc-dropout-dropout"."""
    return "vitrine-" + run.replace("/", "-").replace("_", "-")


@dataclass(frozen=True)
class Plan:
    """What one publication would send.

    repository  "owner/name"
    create      the repository is not there yet
    commit      what it holds now, "" if nothing
    files       name -> content, all that it shall hold
    changed     names of the files that differ from what it holds, or that it lacks
    removed     names of the files that it holds and no longer shall
    """

    repository: str
    create: bool
    commit: str
    files: Mapping[str, bytes] = field(repr=False)
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Would nothing be sent?"""
        return not (self.create or self.changed or self.removed)

    @property
    def size(self) -> int:
        """Bytes that would be sent."""
        return sum(len(self.files[name]) for name in self.changed)

    def text(self) -> str:
        """The plan in lines: each file with its size in bytes."""
        if self.empty:
            return f"{self.repository}: unchanged at {self.commit[:12]}, nothing to send"
        state = "a new repository" if self.create else f"after {self.commit[:12]}"
        lines = [f"{self.repository}: {state}, one commit, {self.size:,} bytes in {len(self.changed)} files"]
        lines += [f"  + {name}  {len(self.files[name]):,} bytes" for name in self.changed]
        lines += [f"  - {name}" for name in self.removed]
        same = len(self.files) - len(self.changed)
        return "\n".join([*lines, *([f"  {same} files are there already"] if same else [])])


def contents(card: Card, run: Run, repository: str, picture: bytes) -> dict[str, bytes]:
    """All files of a run's repository, those of the run checked against their hashes.

    picture PNG of a real answer
    raises  BadRun if a file is damaged; CannotPublish if the run keeps no weights
    """
    if not run.megabytes:
        raise CannotPublish(f"{run.name} keeps no weights: its scores stand in the repository of this project alone.")
    files = {name: run.path(name).read_bytes() for name in sorted(run.config["files"])}
    own = {"config.json": (run.folder / "config.json").read_bytes()}
    text = model_card.for_hub(card, run, repository=repository, picture=PICTURE_FILE)
    return own | files | {CARD_FILE: text.encode(), PICTURE_FILE: picture}


def git_hash(content: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def same(content: bytes, there: Any) -> bool:
    """Is this what the Hub says that it holds? Large files are known by their sha256, others by git's hash."""
    if there.lfs:
        return bool(there.lfs.sha256 == hashlib.sha256(content).hexdigest())
    return bool(there.blob_id == git_hash(content))


class Hub:
    """The Hub through its client.

    token  an access token with the right to write; None: the one of `hf auth login` or HF_TOKEN
    raises CannotPublish, in a sentence, from every method that asks the Hub
    """

    def __init__(self, token: str | None = None) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(token=token)

    def owner(self) -> str:
        """Who the token belongs to."""
        return str(self._ask(self._api.whoami)["name"])

    def plan(self, card: Card, run: Run, owner: str, picture: bytes) -> Plan:
        """What publishing a run below an owner would send; asks the Hub what it has.

        raises CannotPublish if the name is taken by something else, or the Hub does not answer;
               BadRun if a file of the run is damaged
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        repository = f"{owner}/{repository_name(run.name)}"
        files = contents(card, run, repository, picture)
        try:
            info = self._ask(self._api.model_info, repository, files_metadata=True)
        except RepositoryNotFoundError:
            return Plan(repository, True, "", files, tuple(files), ())
        there = {sibling.rfilename: sibling for sibling in info.siblings or () if sibling.rfilename not in KEPT}
        if there and self._run_in(repository, info.sha, there) != run.name:
            raise CannotPublish(
                f"{repository} is taken: it holds something else than {run.name}. Move it, or name another --owner."
            )
        changed = tuple(name for name, content in files.items() if name not in there or not same(content, there[name]))
        removed = tuple(sorted(there.keys() - files.keys()))
        return Plan(repository, False, info.sha, files, changed, removed)

    def _run_in(self, repository: str, commit: str, there: Mapping[str, Any]) -> str:
        """Which run a repository holds, "" if none."""
        if "config.json" not in there:
            return ""
        try:
            return str(store.json_object(fetch(repository, "config.json", commit)).get("run", ""))
        except (store.BadRun, OSError):
            return ""

    def send(self, plan: Plan) -> str:
        """Send a plan in one commit, making the repository if need be; returns the commit.

        raises CannotPublish; what arrived until then is not sent again by the next attempt
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        if plan.empty:
            return plan.commit
        if plan.create:
            self._ask(self._api.create_repo, plan.repository)
        operations = [
            *(CommitOperationAdd(name, plan.files[name]) for name in plan.changed),
            *(CommitOperationDelete(name) for name in plan.removed),
        ]
        # Somebody else's commit in between is refused by the Hub, not overwritten.
        done = self._ask(
            self._api.create_commit,
            plan.repository,
            operations,
            commit_message="Weights, model card and scores",
            parent_commit=plan.commit or None,
        )
        return str(done.oid)

    def _ask(self, call: Any, *arguments: Any, **options: Any) -> Any:
        """One question to the Hub; what goes wrong becomes a sentence."""
        from huggingface_hub import get_token
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HTTPError,
            LocalTokenNotFoundError,
            RepositoryNotFoundError,
        )

        try:
            return call(*arguments, **options)
        except LocalTokenNotFoundError:
            raise CannotPublish("There is no token: run `hf auth login`, or set HF_TOKEN.") from None
        except HfHubHTTPError as error:
            # Whoever shows no token is told 401 of what is not there; with a token it means that the token is refused.
            missing = error.response.status_code == 404 or not (self._api.token or get_token())
            if call == self._api.model_info and isinstance(error, RepositoryNotFoundError) and missing:
                raise
            raise CannotPublish(refusal(error.response.status_code, error)) from error
        # A connection that breaks off, a batch that was refused, a failed thread of the client.
        except (OSError, HTTPError, ValueError, RuntimeError) as error:
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
            response = getattr(cause, "response", None)
            if response is not None:
                raise CannotPublish(refusal(response.status_code, cause)) from error
            raise CannotPublish(
                f"The Hub cannot be reached or broke off: {first_line(cause)}. Run it again."
            ) from error


def refusal(status: int, error: BaseException) -> str:
    """The Hub's refusal as a sentence, with what to do."""
    if status == 401:
        return "The Hub refuses the token: it is wrong or has expired. Run `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return f"The Hub does not let this token write there, below this owner: {first_line(error)}"
    if status in (409, 412):
        return "The repository changed while this was being sent. Run it again."
    return f"The Hub refuses ({status}): {first_line(error)}"


def first_line(error: BaseException) -> str:
    """What an error says, in one line, without what follows a `?`: an upload's address is signed there."""
    return re.sub(r"\?\S+", "?…", str(error).strip().partition("\n")[0]) or type(error).__name__


def record(run: str, repository: str, commit: str) -> None:
    """Write where a run was published into the lock file, which the store reads; the others stay."""
    path = store.CHECKPOINTS / store.LOCK
    known = store.json_object(path) if path.is_file() else {}
    known[run] = {"repository": repository, "commit": commit}
    with NamedTemporaryFile("w", dir=path.parent, prefix="partial-", delete=False, encoding="utf-8") as file:
        json.dump(dict(sorted(known.items())), file, indent=1)
        file.write("\n")
    os.chmod(file.name, 0o644)  # a temporary file is its owner's alone
    os.replace(file.name, path)
