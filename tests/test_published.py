"""A shelf of published networks: one in memory for all, those who wait and leave, and a Hub that fails in every way."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hub import Hub
from published import COMMIT, OTHER, TINY, fetched, files, held, load, small_hub

from core import hub as fetching
from core import imagenet, store
from core import published as shelves
from core.card import Refused

LATER = "abcdefabcd" * 4
SLACK_S = 1.5  # what a busy machine may add to a budget


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with two small repositories, and nothing in memory."""
    with small_hub(tmp_path / "cache", monkeypatch) as hub:
        yield hub


# --- a Hub that works ---


def test_progress_is_said_in_megabytes() -> None:
    assert shelves.Progress().say() == "Asking the Hub …"
    assert shelves.Progress(12_300_000, 46_800_000).say() == "12 of 47 MB"


def test_a_network_in_memory_is_not_loaded_again(hub: Hub) -> None:
    first = load(TINY)
    asked = len(hub.requests)
    assert load(TINY) is first
    assert len(hub.requests) == asked


def test_files_in_the_cache_need_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load(TINY)
    hub.stop()
    monkeypatch.setattr(shelves, "_held", None)
    asked = len(hub.requests)
    assert imagenet.SHELF.here(TINY)
    assert load(TINY).commit == COMMIT
    monkeypatch.setattr(shelves, "_held", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load(TINY).commit == COMMIT
    assert len(hub.requests) == asked


def test_without_a_commit_the_first_download_decides(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ended = replace(TINY, commit=None)
    assert not imagenet.SHELF.here(open_ended)
    assert load(open_ended).commit == COMMIT
    hub.put(TINY.repository, LATER, files(TINY))
    monkeypatch.setattr(shelves, "_held", None)
    assert imagenet.SHELF.here(open_ended)
    assert load(open_ended).commit == COMMIT


def test_another_network_takes_the_place_of_the_first(hub: Hub) -> None:
    first = weakref.ref(load(TINY).network)
    assert load(OTHER).network.stages == OTHER.stages
    assert held() == OTHER
    gc.collect()
    assert first() is None
    assert load(TINY).published == TINY


def test_loading_disturbs_no_other_thread(hub: Hub) -> None:
    # The network is laid out on torch's `meta` device, which must stay that thread's own affair.
    visitor, devices = imagenet.SHELF.loading(TINY), set()
    for _ in visitor:
        devices.add(torch.zeros(1).device.type)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(load, OTHER)
        while not done.done():
            devices.add(torch.zeros(1).device.type)
    assert devices == {"cpu"}


def test_visitors_who_ask_at_once_share_one_download(hub: Hub) -> None:
    barrier = threading.Barrier(8)

    def visit(_: int) -> imagenet.Loaded:
        barrier.wait()
        return load(TINY)

    with ThreadPoolExecutor(8) as pool:
        networks = list(pool.map(visit, range(8)))
    assert all(loaded is networks[0] for loaded in networks)
    assert fetched(hub) == ["config.json", "model.safetensors"]


def test_what_is_on_this_machine_is_at_hand_without_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(TINY)
    assert imagenet.SHELF.at_hand(TINY) is loaded
    load(OTHER)
    hub.stop()
    asked = len(hub.requests)
    first = weakref.ref(imagenet.SHELF.at_hand(OTHER).network)
    again = imagenet.SHELF.at_hand(TINY)
    assert (again.commit, again.labels) == (COMMIT, loaded.labels)
    assert held() == TINY
    gc.collect()
    assert first() is None, "one network in memory"
    assert len(hub.requests) == asked


def test_what_is_not_here_is_refused_with_what_to_do(hub: Hub) -> None:
    load(OTHER)
    with pytest.raises(Refused, match=r"^Tiny is not on this machine\. Choose it again under Network; it has 1 MB\.$"):
        imagenet.SHELF.at_hand(TINY)
    assert held() == OTHER
    assert not any(TINY.repository in line for line in hub.requests)


def test_what_is_at_hand_waits_for_no_download(hub: Hub) -> None:
    load(TINY)
    load(replace(OTHER, commit=None))  # displaces it
    hub.put(OTHER.repository, LATER, files(OTHER))
    hub.faults["model.safetensors"] = "slow"
    visitor = imagenet.SHELF.loading(replace(OTHER, commit=LATER))
    next(visitor)
    begin = time.monotonic()
    assert imagenet.SHELF.at_hand(TINY).published == TINY
    assert time.monotonic() - begin < 2 * SLACK_S
    visitor.close()


def test_a_network_that_many_need_is_read_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load(TINY)
    load(OTHER)
    build, built = imagenet.SHELF.build, []
    monkeypatch.setattr(imagenet.SHELF, "build", lambda *files: built.append(files) or build(*files))
    with ThreadPoolExecutor(8) as pool:
        networks = list(pool.map(lambda _: imagenet.SHELF.at_hand(TINY), range(8)))
    assert all(loaded is networks[0] for loaded in networks)
    assert len(built) == 1


def test_damaged_files_on_this_machine_come_anew(hub: Hub) -> None:
    load(TINY)
    load(OTHER)
    path = fetching.cached(TINY.repository, "model.safetensors", COMMIT)
    assert path
    path.write_bytes(b"damaged")
    with pytest.raises(store.BadRun, match="damaged"):
        imagenet.SHELF.at_hand(TINY)
    assert held() == OTHER
    assert not imagenet.SHELF.here(TINY)
    assert load(TINY).published == TINY


# --- a Hub that does not ---


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "reset"])
def test_a_fault_is_one_sentence_and_the_former_network_stays(hub: Hub, fault: str, file: str) -> None:
    load(OTHER)
    hub.faults[file] = fault
    with pytest.raises(Refused) as refused:
        load(TINY)
    sentence = str(refused.value)
    assert sentence.startswith(f"The Hub did not deliver {TINY.repository} ({file}: ")
    assert sentence.endswith("The network in use stays as it was.")
    assert "\n" not in sentence
    assert held() == OTHER
    hub.faults.clear()
    assert load(TINY).published == TINY


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.safetensors", "model.safetensors is damaged: its sha256 is not the one that the Hub states"),
        ("config.json", "config.json is damaged: "),
    ],
)
def test_other_bytes_are_noticed_and_not_kept(hub: Hub, file: str, message: str) -> None:
    load(OTHER)
    hub.faults[file] = "wrong"
    with pytest.raises(store.BadRun) as refused:
        load(TINY)
    assert str(refused.value).startswith(f"{TINY.repository}/{message}")
    assert held() == OTHER
    hub.faults.clear()
    assert load(TINY).published == TINY


def test_a_large_file_is_refused_before_it_is_downloaded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "LIMIT_MB", 1)
    with pytest.raises(Refused, match=r"model\.safetensors: it has 2 MB, at most 1 MB are loaded"):
        load(TINY)
    assert fetched(hub) == ["config.json"]


def test_a_slow_hub_is_left_after_the_budget(hub: Hub) -> None:
    load(OTHER)
    hub.faults["model.safetensors"] = "slow"
    begin = time.monotonic()
    with pytest.raises(Refused, match=r"\(it is not complete after 0\.5 s\)"):
        load(TINY, budget_s=0.5)
    assert time.monotonic() - begin < 0.5 + SLACK_S
    assert held() == OTHER


def test_a_silent_hub_is_left_sooner(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "ANSWER_S", 0.5)
    hub.faults["config.json"] = "slow"
    begin = time.monotonic()
    with pytest.raises(Refused, match=r"\(no answer\)"):
        load(TINY)
    assert time.monotonic() - begin < 0.5 + SLACK_S


def test_no_hub_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load(OTHER)
    hub.stop()
    begin = time.monotonic()
    with pytest.raises(Refused, match=rf"The Hub did not deliver {TINY.repository} \(.*config\.json"):
        load(TINY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Refused, match="The Hub did not deliver"):
        load(TINY)
    assert time.monotonic() - begin < shelves.ANSWER_S + SLACK_S
    assert held() == OTHER


def test_progress_is_counted_where_the_client_downloads_through_xet() -> None:
    from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

    told = []

    class Bar(fetching.Counter):
        def tell(self, done: int, total: int) -> None:
            told.append((done, total))

    options: Any = {"reconstruction_desc": "", "total": 50, "log_level": 0, "tqdm_class": Bar}
    with XetDownloadProgressReporter(**options) as reporter:
        for done in (20, 50):
            report = SimpleNamespace(
                total_bytes=50,
                total_bytes_completed=done,
                total_transfer_bytes_completed=done,
                total_bytes_completion_rate=1.0,
                total_transfer_bytes_completion_rate=1.0,
            )
            reporter.update_progress(report)
    assert told == [(20, 50), (50, 50)]


# --- visitors who leave, and visitors who wait ---


def test_who_cancels_ends_the_download(hub: Hub) -> None:
    hub.faults["model.safetensors"] = "slow"
    visitor = imagenet.SHELF.loading(TINY)
    while not fetched(hub)[1:]:
        assert next(visitor).loaded is None
    visitor.close()
    hub.faults.clear()
    for thread in threading.enumerate():
        if thread.name == "hub download":
            thread.join(timeout=10)
    assert held() is None
    assert not imagenet.SHELF.here(TINY)
    assert load(TINY).published == TINY


def test_one_who_cancels_does_not_end_it_for_another(hub: Hub) -> None:
    hub.faults["model.safetensors"] = "slow"
    first, second = imagenet.SHELF.loading(TINY), imagenet.SHELF.loading(TINY)
    next(first)
    next(second)
    first.close()
    hub.faults.clear()
    [*_, last] = second
    assert last.loaded
    assert fetched(hub) == ["config.json", "model.safetensors"]


def test_another_network_waits_for_its_turn(hub: Hub) -> None:
    hub.faults["model.safetensors"] = "slow"
    first = imagenet.SHELF.loading(TINY)
    next(first)
    with pytest.raises(Refused, match=r"Another network is still being loaded\. Ask for Other again"):
        load(OTHER, budget_s=0.3)
    second = imagenet.SHELF.loading(OTHER)
    assert next(second).say() == "Asking the Hub …"
    first.close()
    hub.faults.clear()
    [*_, last] = second
    assert last.loaded.published == OTHER
