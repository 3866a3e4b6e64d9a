"""A run on disk and on the Hub: what is saved comes back, and nothing damaged passes for sound."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hub import Hub, asked_by_the_client
from safetensors.torch import save_file
from torch import Tensor, nn

from core import store
from core.loop import History

NAME = "toy/plain"
REPOSITORY = "owner/toy-plain"
COMMIT = "0123456789" * 4
LATER = "abcdefabcd" * 4
SLACK_S = 1.5  # what a busy machine may add to a budget
CONFIG: dict[str, Any] = {
    "network": {"inputs": 3},
    "classes": ["left", "right"],
    "preprocessing": {"range": [0, 1]},
    "recipe": {"epochs": 2},
    "scores": {"error": {"stored": 0.25, "mean": 0.3, "spread": 0.05, "runs": 10}},
    "data": [{"name": "toy"}],
    "measured": {"seeds": [0]},
}
INPUT = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.25, -1.0]])
HISTORY = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "error": 0.125}])


def toy(seed: int = 0) -> nn.Sequential:
    """A linear layer, and a normalisation for its whole-number buffer; all weights from the seed."""
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        network[1].num_batches_tracked += 70_000  # beyond the range of fp16
    return network.eval()


def answer(run: store.Run) -> Tensor:
    """What the run's network says to INPUT."""
    return run.fill(toy(seed=99))(INPUT)


def save(checkpoints: Path, *, seed: int = 0, name: str = NAME) -> store.Run:
    network = store.rounded(toy(seed))
    expected = {"input": INPUT, "output": network(INPUT).detach()}
    return store.save(
        name,
        config=CONFIG,
        network=network,
        history=HISTORY,
        companions={"expected.safetensors": expected},
        checkpoints=checkpoints,
    )


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkpoint folder, and embedded weights as the source."""
    monkeypatch.setattr(store, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(store, "_silent_until", 0.0)
    monkeypatch.delenv("VITRINE_WEIGHTS", raising=False)
    return tmp_path / "checkpoints"


@pytest.fixture
def run(checkpoints: Path) -> store.Run:
    """A stored run."""
    return save(checkpoints)


def rewrite(run: store.Run, changes: Mapping[str, Any]) -> None:
    """Change leaves of config.json; None takes one away."""
    path = run.folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({leaf: value for leaf, value in config.items() if value is not None}))


def replace_weights(run: store.Run, write: Callable[[Path], object]) -> store.Run:
    """Another weights file whose hash is right, so that only its content can be wrong."""
    path = run.folder / "model.safetensors"
    write(path)
    rewrite(run, {"files": {**run.config["files"], path.name: store.sha256(path)}})
    return store.load(run.name)


# --- save and load ---


def test_a_run_comes_back_as_it_was_saved(run: store.Run) -> None:
    loaded = store.load(NAME)
    assert loaded == run
    assert loaded.config == {"schema": store.SCHEMA, "run": NAME, **CONFIG, "files": run.config["files"]}
    assert (loaded.source, loaded.note, loaded.network) == ("embedded", "", {"inputs": 3})
    assert loaded.score("error")["spread"] == 0.05
    assert loaded.history() == HISTORY.rows
    assert set(loaded.config["files"]) == {"model.safetensors", "history.csv", "expected.safetensors"}
    assert loaded.megabytes == (run.folder / "model.safetensors").stat().st_size / 1e6
    expected = loaded.tensors("expected.safetensors")
    assert torch.equal(expected["input"], INPUT)
    assert torch.equal(answer(loaded), expected["output"])


def test_fill_freezes_and_evaluates(run: store.Run) -> None:
    network = run.fill(toy(seed=1).train())
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_saving_rounds_to_what_rounded_gives(checkpoints: Path) -> None:
    exact = store.save(NAME, config=CONFIG, network=toy())
    rounded = store.rounded(toy())
    filled = exact.fill(toy(seed=1)).state_dict()
    assert any(not torch.equal(filled[leaf], value) for leaf, value in toy().state_dict().items())
    for leaf, value in rounded.state_dict().items():
        assert torch.equal(filled[leaf], value), leaf
    again = store.rounded(store.rounded(toy())).state_dict()
    assert all(torch.equal(again[leaf], value) for leaf, value in rounded.state_dict().items())


def test_weights_are_stored_in_half_precision_and_counters_as_they_are(run: store.Run) -> None:
    stored = run.tensors("model.safetensors")
    assert stored["0.weight"].dtype == torch.float16
    assert stored["1.num_batches_tracked"].dtype == torch.int64
    assert run.fill(toy(seed=1))[1].num_batches_tracked == 70_000


def test_a_network_in_another_memory_format_can_be_saved(checkpoints: Path) -> None:
    network = store.rounded(nn.Conv2d(4, 2, 3).to(memory_format=torch.channels_last))
    run = store.save(NAME, config=CONFIG, network=network)
    assert torch.equal(run.fill(nn.Conv2d(4, 2, 3)).weight, network.weight)


def test_a_run_without_weights_inherits_none_from_an_older_one(run: store.Run) -> None:
    table = store.save(NAME, config=CONFIG, history=HISTORY)
    assert set(table.config["files"]) == {"history.csv"}
    with pytest.raises(store.BadRun, match=r"model\.safetensors is missing"):
        table.fill(toy())
    other = store.save("toy/table", config=CONFIG)
    assert other.megabytes == 0
    with pytest.raises(store.BadRun, match=r"history\.csv is missing"):
        other.history()


def test_a_save_that_fails_leaves_the_former_run(run: store.Run) -> None:
    def refuse(path: Path) -> None:
        raise OSError("no space left")

    before = answer(run)
    with pytest.raises(OSError, match="no space left"):
        store.save(NAME, config=CONFIG, network=toy(seed=1), history=SimpleNamespace(write=refuse))
    assert torch.equal(answer(store.load(NAME)), before)
    assert {path.name for path in run.folder.iterdir()} == {"config.json", *run.config["files"]}


def test_config_is_written_last(run: store.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "config.json":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(store.CHECKPOINTS, seed=1)
    assert {path.name for path in run.folder.iterdir()} == set(run.config["files"])
    with pytest.raises(store.BadRun, match=r"config\.json is missing"):
        store.load(NAME)


# --- damage ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema is 2, this version reads 1"),
        ({"schema": None}, "schema is None, this version reads 1"),
        ({"run": "toy/other"}, "run is 'toy/other', expected 'toy/plain'"),
        ({"files": ["model.safetensors"]}, "files is list, expected an object"),
        ({"scores": 0.25}, "scores is float, expected an object"),
        *[({leaf: None}, f"{leaf} is missing") for leaf in ("run", "files", *CONFIG)],
    ],
)
def test_a_wrong_config_is_refused(run: store.Run, changes: dict[str, Any], message: str) -> None:
    rewrite(run, changes)
    with pytest.raises(store.BadRun) as refused:
        store.load(NAME)
    assert str(refused.value) == f"{store.shown(run.folder / 'config.json')}: {message}"


@pytest.mark.parametrize("content", [b"", b'{"schema": 1', b"[1, 2]", b"\xff\xfe\x00", b"null"])
def test_a_damaged_config_is_refused(run: store.Run, content: bytes) -> None:
    (run.folder / "config.json").write_bytes(content)
    with pytest.raises(store.BadRun, match=r"config\.json is damaged"):
        store.load(NAME)


def test_a_run_that_is_not_there_is_refused(checkpoints: Path) -> None:
    with pytest.raises(store.BadRun, match=r"config\.json is missing"):
        store.load(NAME)


def test_a_score_that_is_not_there_is_refused(run: store.Run) -> None:
    with pytest.raises(store.BadRun, match=r"config\.json: scores\.nll is missing"):
        run.score("nll")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.bias": None}, "0.bias is missing"),
        ({"0.extra": torch.zeros(1)}, "0.extra is not part of the network"),
        ({"0.weight": torch.zeros(3, 2).half()}, "0.weight has shape (3, 2), the network expects (2, 3)"),
        ({"0.bias": torch.tensor([1, 2])}, "0.bias has dtype torch.int64, the network expects torch.float32"),
        ({"0.bias": torch.zeros(2).double()}, "0.bias has dtype torch.float64"),
        ({"1.num_batches_tracked": torch.tensor(1.0)}, "1.num_batches_tracked has dtype torch.float32"),
        ({"1.num_batches_tracked": torch.tensor(1.0).half()}, "1.num_batches_tracked has dtype torch.float16"),
        ({"1.num_batches_tracked": torch.tensor(True)}, "1.num_batches_tracked has dtype torch.bool"),
    ],
)
def test_weights_that_do_not_fit_are_refused(run: store.Run, changes: dict[str, Tensor | None], message: str) -> None:
    changed = run.tensors("model.safetensors") | changes
    stored = {leaf: tensor for leaf, tensor in changed.items() if tensor is not None}
    damaged = replace_weights(run, lambda path: save_file(stored, path))
    network = toy(seed=1)
    with pytest.raises(store.BadRun) as refused:
        damaged.fill(network)
    assert f"model.safetensors: {message}" in str(refused.value)
    assert all(torch.equal(value, network.state_dict()[leaf]) for leaf, value in toy(seed=1).state_dict().items())


@pytest.mark.parametrize("file", ["model.safetensors", "expected.safetensors", "history.csv"])
def test_a_changed_byte_is_noticed(run: store.Run, file: str) -> None:
    path = run.folder / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(store.BadRun, match=rf"{file} is damaged: its sha256"):
        run.history() if file == "history.csv" else run.tensors(file)
    path.unlink()
    with pytest.raises(store.BadRun, match=rf"{file} is missing"):
        run.history() if file == "history.csv" else run.tensors(file)


def test_a_file_of_another_kind_is_refused(run: store.Run) -> None:
    damaged = replace_weights(run, lambda path: path.write_bytes(b"no tensors here"))
    with pytest.raises(store.BadRun, match=r"model\.safetensors is damaged"):
        damaged.fill(toy())


# --- the Hub ---


@pytest.fixture
def hub(run: store.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with the run, but other weights than the embedded ones, and a client whose cache is empty.

    `test_the_environment_decides` starts a process of its own instead.
    """
    published = save(tmp_path / "published", seed=1)
    with Hub() as hub, asked_by_the_client(hub, tmp_path / "cache", monkeypatch):
        hub.put(REPOSITORY, COMMIT, {path.name: path.read_bytes() for path in published.folder.iterdir()})
        monkeypatch.setenv("VITRINE_WEIGHTS", f"hub:{REPOSITORY}@{COMMIT}")
        yield hub


def embedded(run: store.Run) -> bool:
    """Are these the embedded weights (and not those of the Hub)?"""
    assert run.source in ("embedded", f"{REPOSITORY}@{COMMIT}")
    seed = 0 if run.source == "embedded" else 1
    assert torch.equal(answer(run), store.rounded(toy(seed))(INPUT))
    return seed == 0


def test_the_hub_delivers(hub: Hub) -> None:
    loaded = store.load(NAME)
    assert not embedded(loaded)
    assert loaded.note == ""
    assert loaded.history() == HISTORY.rows
    asked = {line.rpartition("/")[2] for line in hub.requests if line.startswith("GET")}
    assert asked == {"config.json", "model.safetensors", "history.csv", "expected.safetensors"}


def test_a_commit_in_the_cache_needs_no_network(hub: Hub) -> None:
    store.load(NAME)
    hub.stop()
    asked = len(hub.requests)
    loaded = store.load(NAME)
    assert not embedded(loaded)
    assert loaded.note == ""
    assert len(hub.requests) == asked


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("fault", ["missing", "wrong", "truncated", "reset"])
def test_a_fault_costs_the_hub_and_no_more(hub: Hub, fault: str, file: str) -> None:
    hub.faults[file] = fault
    loaded = store.load(NAME)
    assert embedded(loaded)
    assert loaded.note.startswith(f"The Hub did not deliver {REPOSITORY} (")
    assert loaded.note.endswith("): embedded weights instead.")
    assert file in loaded.note
    hub.faults.clear()
    healed = store.load(NAME)
    assert not embedded(healed)
    assert healed.note == ""


def test_a_restarted_hub_delivers(hub: Hub) -> None:
    hub.stop()
    loaded = store.load(NAME)
    assert embedded(loaded)
    assert "The Hub did not deliver" in loaded.note
    hub.start()
    assert not embedded(store.load(NAME))


def test_a_download_goes_on_where_it_broke_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import file_download

    def mend(_: float) -> None:
        hub.faults.clear()

    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=mend))
    hub.faults["model.safetensors"] = "truncated"
    assert not embedded(store.load(NAME))


def test_a_slow_hub_is_left_after_the_budget(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "HUB_BUDGET_S", 0.5)
    hub.faults["model.safetensors"] = "slow"
    begin = time.monotonic()
    loaded = store.load(NAME)
    assert time.monotonic() - begin < 0.5 + SLACK_S
    assert embedded(loaded)
    assert loaded.note == f"The Hub did not deliver {REPOSITORY} (no answer within 0.5 s): embedded weights instead."
    # A page loads several runs: the next ones do not wait as well.
    begin = time.monotonic()
    assert "a moment ago" in store.load(NAME).note
    assert time.monotonic() - begin < 0.2
    # The download that was left finds its end, and the next start finds the files in the cache.
    monkeypatch.setattr(store, "_silent_until", 0.0)
    hub.faults.clear()
    monkeypatch.setattr(store, "HUB_BUDGET_S", 6.0)
    assert not embedded(store.load(NAME))


def test_the_budget_is_for_all_files_together(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "HUB_BUDGET_S", 1.0)
    monkeypatch.setattr("hub.DRIP_S", 0.001)
    hub.faults = dict.fromkeys(("config.json", "model.safetensors", "expected.safetensors"), "slow")
    begin = time.monotonic()
    loaded = store.load(NAME)
    assert time.monotonic() - begin < 1.0 + SLACK_S
    assert embedded(loaded)
    assert "no answer within 1 s" in loaded.note


def test_offline_mode_falls_back_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    loaded = store.load(NAME)
    assert embedded(loaded)
    assert "The Hub did not deliver" in loaded.note
    assert hub.requests == []


def test_another_threads_closed_session_is_no_crash(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client shares one session among threads and closes it when a connection fails.
    from huggingface_hub.utils import _http

    session = _http.default_client_factory()
    session.close()
    monkeypatch.setattr(_http, "get_session", lambda: session)
    loaded = store.load(NAME)
    assert embedded(loaded)
    assert "the client has been closed" in loaded.note


@pytest.mark.parametrize(
    "address", [f"hub:owner/nowhere@{COMMIT}", f"hub:{REPOSITORY}@{LATER}", f"hub:owner/two--dashes@{COMMIT}"]
)
def test_an_address_that_leads_nowhere_falls_back(hub: Hub, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("VITRINE_WEIGHTS", address)
    loaded = store.load(NAME)
    assert embedded(loaded)
    assert "The Hub did not deliver" in loaded.note


def test_a_repository_with_another_run_changes_nothing(hub: Hub, checkpoints: Path) -> None:
    save(checkpoints, name="toy/other")
    loaded = store.load("toy/other")
    assert (loaded.source, loaded.note) == ("embedded", "")
    assert not embedded(store.load(NAME))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"run": None}, "run is missing"),
        ({"files": ["model.safetensors"]}, "files is list"),
        ({"files": {"../../../escaped": "0" * 64}}, "escaped"),
    ],
)
def test_a_strange_config_on_the_hub_falls_back(hub: Hub, changes: dict[str, Any], reason: str) -> None:
    files = hub.repositories[REPOSITORY][COMMIT]
    sound = files["config.json"]
    config = json.loads(sound) | changes
    files["config.json"] = json.dumps({leaf: value for leaf, value in config.items() if value is not None}).encode()
    loaded = store.load(NAME)
    assert embedded(loaded)
    assert reason in loaded.note


@pytest.mark.parametrize(
    "wanted",
    [
        "nonsense",
        "Hub",
        "hub:",
        f"hub:{REPOSITORY}",
        f"hub:{REPOSITORY}@main",
        f"hub:{REPOSITORY}@{COMMIT[:-1]}",
        f"hub:{REPOSITORY}@{COMMIT}/config.json",
        f"hub:toy@{COMMIT}",
    ],
)
def test_a_source_that_cannot_be_read_is_refused(run: store.Run, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("VITRINE_WEIGHTS", wanted)
    with pytest.raises(ValueError, match=r"VITRINE_WEIGHTS: expected embedded, hub or hub:owner/name@") as refused:
        store.load(NAME)
    assert repr(wanted) in str(refused.value)


@pytest.mark.parametrize("wanted", ["", "  ", "embedded", " embedded "])
def test_the_embedded_source(run: store.Run, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("VITRINE_WEIGHTS", wanted)
    assert store.load(NAME) == run


def test_hub_without_a_publication_is_embedded_with_a_note(hub: Hub, checkpoints: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("VITRINE_WEIGHTS", "hub")
    for content in (None, "{}", '{"toy/other": {"repository": "owner/other", "commit": "' + COMMIT + '"}}'):
        if content:
            (checkpoints / "hub.json").write_text(content)
        loaded = store.load(NAME)
        assert embedded(loaded)
        assert loaded.note == "Not published on the Hub yet: embedded weights."
    assert hub.requests == []


def test_hub_with_a_publication_delivers_it(hub: Hub, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_WEIGHTS", "hub")
    (checkpoints / "hub.json").write_text(json.dumps({NAME: {"repository": REPOSITORY, "commit": COMMIT}}))
    assert not embedded(store.load(NAME))


def test_a_damaged_list_of_publications_is_named(run: store.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_WEIGHTS", "hub")
    (store.CHECKPOINTS / "hub.json").write_text("[")
    with pytest.raises(store.BadRun, match=r"hub\.json is damaged"):
        store.load(NAME)


VISIT = """
import sys
from pathlib import Path
from core import store

store.CHECKPOINTS = Path(sys.argv[1])
for line in sys.stdin:
    store.HUB_BUDGET_S = float(line)
    run = store.load("toy/plain")
    print(run.source, run.note, sep="|", flush=True)
"""


def test_the_environment_decides(run: store.Run, tmp_path: Path) -> None:
    """A process of its own: HF_ENDPOINT is obeyed, the cache serves offline, and no Hub costs the budget only."""
    published = save(tmp_path / "published", seed=1)
    with Hub() as hub:
        hub.put(REPOSITORY, COMMIT, {path.name: path.read_bytes() for path in published.folder.iterdir()})
        environment = os.environ | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "VITRINE_WEIGHTS": f"hub:{REPOSITORY}@{COMMIT}",
        }
        with subprocess.Popen(
            [sys.executable, "-c", VISIT, str(store.CHECKPOINTS)],
            cwd=Path(store.__file__).parent.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:

            def load(budget_s: float) -> str:
                process.stdin.write(f"{budget_s}\n")
                process.stdin.flush()
                return process.stdout.readline().strip()

            assert load(30) == f"{REPOSITORY}@{COMMIT}|"
            hub.stop()
            assert load(30) == f"{REPOSITORY}@{COMMIT}|"
            shutil.rmtree(tmp_path / "home")
            begin = time.monotonic()
            assert load(0.5).startswith(f"embedded|The Hub did not deliver {REPOSITORY} (no answer within 0.5 s)")
            assert time.monotonic() - begin < 0.5 + SLACK_S
            process.stdin.close()
            assert process.wait(timeout=10) == 0
