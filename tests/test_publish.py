"""Runs on their way to the Hub: published over HTTP, loaded from there, and what may go wrong in between."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml
from hub import Hub, asked_by_the_client

from core import card as cards
from core import model_card, publish, store
from core.nets import DropoutCNN

ROOT = Path(__file__).resolve().parent.parent
NAME, TABLE = "mc_dropout/dropout", "mc_dropout/dropout_batchnorm"
CARD = cards.load("mc_dropout").CARD
TOKEN, EXPIRED = "hf_good", "hf_expired"
REPOSITORY = "curator/vitrine-mc-dropout-dropout"
PICTURE = b"\x89PNG a picture"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> store.Run:
    """A copy of an embedded run, in a checkpoint folder of its own."""
    shutil.copytree(store.CHECKPOINTS / NAME, tmp_path / "checkpoints" / NAME)
    monkeypatch.setattr(store, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(store, "_silent_until", 0.0)
    monkeypatch.delenv("VITRINE_WEIGHTS", raising=False)
    return store.load(NAME)


@pytest.fixture
def hub(run: store.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that knows one curator and has no repository."""
    with Hub() as hub, asked_by_the_client(hub, tmp_path / "cache", monkeypatch):
        hub.tokens[TOKEN] = "curator"
        yield hub


def planned(run: store.Run, token: str = TOKEN, owner: str = "curator", picture: bytes = PICTURE) -> publish.Plan:
    return publish.Hub(token).plan(CARD, run, owner, picture)


def published(run: store.Run) -> str:
    """Publish, and write down where; returns the commit."""
    plan = planned(run)
    commit = publish.Hub(TOKEN).send(plan)
    publish.record(run.name, plan.repository, commit)
    return commit


def sent(hub: Hub) -> list[str]:
    """The requests that change something."""
    return [line for line in hub.requests if not line.startswith(("GET", "HEAD"))]


def answer(run: store.Run) -> torch.Tensor:
    expected = run.tensors("expected.safetensors")
    return run.fill(DropoutCNN(**run.network))(expected["input"])


def test_published_cleared_and_loaded_again(
    hub: Hub, run: store.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answer(run)
    commit = published(run)
    assert list(hub.repositories[REPOSITORY]) == ["0" * 40, commit]  # its making, and one commit
    assert set(hub.repositories[REPOSITORY][commit]) == {
        *run.config["files"],
        "config.json",
        "README.md",
        "answer.png",
        ".gitattributes",
    }
    assert json.loads((store.CHECKPOINTS / "hub.json").read_text()) == {
        NAME: {"repository": REPOSITORY, "commit": commit}
    }
    for wanted in ("hub", f"hub:{REPOSITORY}@{commit}"):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        monkeypatch.setenv("VITRINE_WEIGHTS", wanted)
        loaded = store.load(NAME)
        assert (loaded.source, loaded.note) == (f"{REPOSITORY}@{commit}", "")
        assert torch.equal(answer(loaded), before)


def test_a_dry_run_says_all_that_would_be_sent_and_sends_nothing(hub: Hub, run: store.Run) -> None:
    for token in (TOKEN, None):
        plan = publish.Hub(token).plan(CARD, run, "curator", PICTURE)
        assert plan.create
        assert plan.size == sum(len(content) for content in plan.files.values())
        for name in (*run.config["files"], "config.json"):
            assert f"+ {name}  {(run.folder / name).stat().st_size:,} bytes" in plan.text()
        assert f"a new repository, one commit, {plan.size:,} bytes in {len(plan.files)} files" in plan.text()
    assert sent(hub) == []
    assert hub.repositories == {}


def test_an_unchanged_run_sends_nothing(hub: Hub, run: store.Run) -> None:
    commit = published(run)
    hub.requests.clear()
    assert published(run) == commit
    assert sent(hub) == []
    assert "unchanged" in planned(run).text()


def test_what_changed_is_sent_and_what_is_gone_is_removed(hub: Hub, run: store.Run) -> None:
    first = published(run)
    hub.put(REPOSITORY, "1" * 40, {**hub.repositories[REPOSITORY][first], "old.json": b"{}"})
    plan = planned(run, picture=b"another picture")
    assert (plan.changed, plan.removed, plan.commit) == (("answer.png",), ("old.json",), "1" * 40)
    hub.requests.clear()
    second = publish.Hub(TOKEN).send(plan)
    assert not [line for line in hub.requests if "repos/create" in line]
    now = hub.repositories[REPOSITORY][second]
    assert now["answer.png"] == b"another picture"
    assert "old.json" not in now
    assert now["model.safetensors"] == hub.repositories[REPOSITORY][first]["model.safetensors"]


def test_the_card_on_the_hub(hub: Hub, run: store.Run) -> None:
    commit = published(run)
    text = hub.repositories[REPOSITORY][commit]["README.md"].decode()
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["license"], front["pipeline_tag"]) == ("apache-2.0", "image-classification")
    assert front["tags"] == ["vitrine", "mc-dropout", "teaching"]
    (result,) = front["model-index"][0]["results"]
    assert front["model-index"][0]["name"] == NAME
    assert result["dataset"]["name"] == run.config["data"][0]["title"]
    found = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert found == pytest.approx({key: entry["stored"] for key, entry in run.config["scores"].items()}, rel=1e-5)
    assert "](answer.png)" in text
    for source in run.config["data"]:
        assert f"licence {source['licence']}" in text
    assert model_card.body(CARD, run).split("- weights")[1] in text


@pytest.mark.parametrize("broken", ["POST /api/repos", "POST /api/models/", "PUT /lfs/", "!POST /api/models/"])
def test_a_cut_connection_is_survived_or_said_and_the_next_attempt_goes_on(
    hub: Hub, run: store.Run, broken: str
) -> None:
    hub.broken.append(broken)
    with suppress(publish.CannotPublish):  # where the client does not try again by itself
        published(run)
    assert hub.broken == []
    commit = published(run)
    files = hub.repositories[REPOSITORY][commit]
    assert files["model.safetensors"] == (run.folder / "model.safetensors").read_bytes()
    assert len(hub.repositories[REPOSITORY]) == 2


def test_weights_that_arrived_are_not_sent_again(hub: Hub, run: store.Run) -> None:
    hub.broken.append(f"POST /api/models/{REPOSITORY}/commit")
    with pytest.raises(publish.CannotPublish, match="Run it again"):
        published(run)
    arrived = [line for line in sent(hub) if line.startswith("PUT")]
    assert len(arrived) == 4  # weights, expected answers, samples, the picture
    hub.requests.clear()
    published(run)
    assert not [line for line in sent(hub) if line.startswith("PUT")]


def test_a_commit_whose_answer_was_lost_is_found(hub: Hub, run: store.Run) -> None:
    hub.broken.append(f"!POST /api/models/{REPOSITORY}/commit")
    with pytest.raises(publish.CannotPublish, match="broke off"):
        published(run)
    assert not (store.CHECKPOINTS / "hub.json").exists()
    hub.requests.clear()
    commit = published(run)
    assert sent(hub) == []
    assert commit == list(hub.repositories[REPOSITORY])[-1]


def test_the_hub_goes_away(hub: Hub, run: store.Run) -> None:
    plan = planned(run)
    hub.stop()
    with pytest.raises(publish.CannotPublish, match=r"cannot be reached or broke off: .+ Run it again"):
        publish.Hub(TOKEN).send(plan)
    hub.start()
    published(run)


@pytest.mark.parametrize("said", ["Invalid credentials in Authorization header", "This token has expired"])
def test_a_token_that_expired(hub: Hub, run: store.Run, said: str) -> None:
    hub.refusal = said
    with pytest.raises(publish.CannotPublish, match="wrong or has expired"):
        publish.Hub(EXPIRED).owner()
    with pytest.raises(publish.CannotPublish, match="wrong or has expired"):
        planned(run, token=EXPIRED)
    plan = planned(run)
    del hub.tokens[TOKEN]  # between the plan and the sending
    with pytest.raises(publish.CannotPublish, match="wrong or has expired"):
        publish.Hub(TOKEN).send(plan)
    assert hub.repositories == {}


def test_no_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: None)
    with pytest.raises(publish.CannotPublish, match="There is no token"):
        publish.Hub().owner()


def test_a_token_may_not_write_below_another_owner(hub: Hub, run: store.Run) -> None:
    assert publish.Hub(TOKEN).owner() == "curator"
    with pytest.raises(publish.CannotPublish, match="right to write"):
        publish.Hub(TOKEN).send(planned(run, owner="museum"))


def test_the_owners_storage_is_full(hub: Hub, run: store.Run) -> None:
    hub.full = True
    with pytest.raises(publish.CannotPublish, match="Storage limit reached"):
        publish.Hub(TOKEN).send(planned(run))


@pytest.mark.parametrize("there", [{"weights.bin": b"?"}, {"config.json": b'{"run": "toy/plain"}'}])
def test_a_name_that_is_taken(hub: Hub, run: store.Run, there: dict[str, bytes]) -> None:
    hub.put(REPOSITORY, "1" * 40, there)
    with pytest.raises(publish.CannotPublish, match=f"{REPOSITORY} is taken"):
        planned(run)
    assert hub.repositories[REPOSITORY] == {"1" * 40: there}


def test_somebody_elses_commit_in_between_is_not_overwritten(hub: Hub, run: store.Run) -> None:
    published(run)
    plan = planned(run, picture=b"another picture")
    hub.put(REPOSITORY, "1" * 40, {**list(hub.repositories[REPOSITORY].values())[-1], "note.txt": b"mine"})
    with pytest.raises(publish.CannotPublish, match="changed while this was being sent"):
        publish.Hub(TOKEN).send(plan)
    assert list(hub.repositories[REPOSITORY])[-1] == "1" * 40


def test_a_run_that_is_damaged_or_keeps_no_weights_is_not_published(hub: Hub, run: store.Run) -> None:
    (run.folder / "samples.safetensors").write_bytes(b"?")
    with pytest.raises(store.BadRun, match=r"samples\.safetensors is damaged"):
        planned(run)
    (run.folder / "model.safetensors").unlink()
    with pytest.raises(publish.CannotPublish, match="keeps no weights"):
        planned(run)


def test_the_lock_file_keeps_the_others(run: store.Run) -> None:
    for name in ("toy/b", "toy/a", "toy/b"):
        publish.record(name, f"curator/{name[-1]}", "1" * 40)
    known = json.loads((store.CHECKPOINTS / "hub.json").read_text())
    assert list(known) == ["toy/a", "toy/b"]
    assert {path.name for path in store.CHECKPOINTS.iterdir()} == {"mc_dropout", "hub.json"}


@pytest.mark.slow
def test_the_script_as_it_is_called(tmp_path: Path) -> None:
    """A process of its own: the environment names the Hub, nothing is sent before --send."""
    copy = tmp_path / "project"
    for part in ("core", "scripts", "docs/pictures", f"checkpoints/{NAME}", f"checkpoints/{TABLE}"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "page-*", "phone-*"))
    for slug in cards.topics():
        (copy / "checkpoints" / slug).mkdir(exist_ok=True)
    with Hub() as hub:
        hub.tokens[TOKEN] = "curator"
        told = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}

        def script(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, "scripts/publish.py", *arguments],
                cwd=copy,
                env={**os.environ, **told, "PYTHONPATH": str(copy)},
                capture_output=True,
                text=True,
                check=False,
            )
            return f"{done.returncode} {done.stdout}{done.stderr}"

        assert "Nothing was sent" in script()
        assert hub.repositories == {}
        said = script("mc_dropout", "--send")
        commit = list(hub.repositories[REPOSITORY])[-1]
        assert f"published: hub:{REPOSITORY}@{commit}" in said
        assert json.loads((copy / "checkpoints" / "hub.json").read_text())[NAME]["commit"] == commit
        assert re.search(r"^1 .*keeps no weights", script(TABLE), re.DOTALL)
