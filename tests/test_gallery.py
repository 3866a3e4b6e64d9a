"""The front door: every topic on the home page, Spaces built when asked for, one that fails alone."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import httpx
import pytest
import serving
from safetensors.torch import load_file, save_file
from starlette.testclient import TestClient

from apps import gallery
from core import card as cards
from core import store
from core.card import Card

CARD: Card = cards.load("mc_dropout").CARD
MEMORY_MB, STOP_S = 700, 10


def plain_page(slug: str) -> gr.Blocks:
    """A Space in two lines, so that a test of the front door loads no weights."""
    with gr.Blocks(title=slug, analytics_enabled=False) as demo:
        gr.HTML(f"<p>this is {slug}</p>")
    return demo


def made_up(count: int) -> dict[str, Card]:
    """Cards of topics that do not exist, in several families."""
    families = ("Uncertainty", "Explanation", "Generation", "Language")
    return {
        f"idea_{number}": replace(
            CARD, slug=f"idea_{number}", family=families[number % 4], question=f"What does idea {number} ask?"
        )
        for number in range(count)
    }


@pytest.fixture
def two() -> Iterator[TestClient]:
    """A gallery of two topics of which one cannot be built."""

    def build(slug: str) -> gr.Blocks:
        if slug == "idea_1":
            raise store.BadRun("idea_1/plain/model.safetensors: head.weight is missing")
        return plain_page(slug)

    with TestClient(gallery.create(made_up(2), build)) as client:
        yield client


def states(client: TestClient) -> dict[str, str]:
    return client.get("/healthz").json()["topics"]


# ---- home, health, routes


def test_home_lists_every_topic() -> None:
    with TestClient(gallery.create({slug: cards.load(slug).CARD for slug in cards.topics()})) as client:
        home = client.get("/").text
    for slug in cards.topics():
        assert cards.load(slug).CARD.question in home
    for slug in cards.topics(surface="space"):
        assert f"href='/{slug}/'" in home


def test_home_marks_the_pages_of_the_lab_with_its_address() -> None:
    concept = replace(CARD, slug="concept", question="What is an idea?", surface="lab", scores=(), data=())
    with TestClient(
        gallery.create({"concept": concept, **made_up(1)}, plain_page, lab="http://192.0.2.7:8501")
    ) as client:
        home = client.get("/").text
        assert client.get("/concept/").status_code == 404, "it is no Space"
        assert list(client.get("/healthz").json()["topics"]) == ["idea_0"]
    assert "href='/lab/concept'" in home
    assert "Lab · http://192.0.2.7:8501" in home
    assert home.count("<section>") == 1, "in its family, beside the Spaces"


def test_a_page_of_the_lab_is_reached_where_the_lab_runs() -> None:
    topics = {"concept": replace(CARD, slug="concept", question="What is an idea?", surface="lab"), **made_up(1)}
    with socket.create_server(("127.0.0.1", 0)) as runs:
        address = f"http://127.0.0.1:{runs.getsockname()[1]}"
        with TestClient(gallery.create(topics, plain_page, lab=address)) as client:
            answer = client.get("/lab/concept", follow_redirects=False)
            assert answer.headers["location"] == f"{address}/concept"
            runs.close()
            stopped = client.get("/lab/concept")
            assert stopped.status_code == 503
            assert "the lab is not running; make lab starts it" in stopped.text
            assert client.get("/lab/idea_0").status_code == 404
    with TestClient(gallery.create(topics, plain_page, lab="")) as client:
        assert "What is an idea?" not in client.get("/").text


def test_health(two: TestClient) -> None:
    health = two.get("/healthz").json()
    assert health["status"] == "ok"
    assert health["version"]
    assert health["memory_mb"] > 0
    assert health["topics"] == {"idea_0": "not asked for yet", "idea_1": "not asked for yet"}


def test_a_space_is_built_when_it_is_asked_for_and_once() -> None:
    built = []

    def build(slug: str) -> gr.Blocks:
        built.append(slug)
        return plain_page(slug)

    with TestClient(gallery.create(made_up(3), build)) as client:
        client.get("/")
        assert built == []
        assert client.get("/idea_1/").status_code == 200
        assert client.get("/idea_1/config").status_code == 200
        assert built == ["idea_1"]
        assert states(client) == {"idea_0": "not asked for yet", "idea_1": "ready", "idea_2": "not asked for yet"}


def test_a_space_that_fails_says_so_and_the_others_go_on(two: TestClient) -> None:
    failed = two.get("/idea_1/")
    assert failed.status_code == 503
    assert "idea_1/plain/model.safetensors: head.weight is missing" in failed.text
    assert "Traceback" not in failed.text
    assert two.get("/idea_0/").status_code == 200
    assert states(two) == {"idea_0": "ready", "idea_1": "failed"}
    assert two.get("/healthz").json()["status"] == "degraded"


def test_an_unforeseen_error_shows_no_details() -> None:
    def build(slug: str) -> gr.Blocks:
        raise RuntimeError("a secret of this machine")

    with TestClient(gallery.create(made_up(1), build)) as client:
        page = client.get("/idea_0/")
    assert page.status_code == 503
    assert "secret" not in page.text
    assert "cannot be shown" in page.text


def test_an_address_without_its_slash(two: TestClient) -> None:
    answer = two.get("/idea_0?seed=7", follow_redirects=False)
    assert answer.status_code in (307, 308)
    assert answer.headers["location"].removeprefix("http://testserver") == "/idea_0/?seed=7"


class Tags(HTMLParser):
    """What a program that previews a link finds: the tags of a page, no script run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "meta" and (name := given.get("property") or given.get("name")):
            self.found.append((name, given.get("content") or ""))


def test_share_tags_are_the_cards_and_stand_in_the_served_page() -> None:
    with TestClient(gallery.create({"mc_dropout": CARD}, plain_page)) as client:
        page = client.get("/mc_dropout/").text
        tags = [(name, text) for name, text in Tags(page).found if name.startswith(("og:", "twitter:"))]
        assert len({name for name, _ in tags}) == len(tags)
        image = "http://testserver/vitrine/pictures/mc_dropout-light.png"
        assert {
            "og:title": CARD.question,
            "og:description": CARD.claim,
            "og:image": image,
        }.items() <= dict(tags).items()
        assert page.count("<title>") == 1
        assert f"<title>{CARD.question} · Vitrine</title>" in page
        picture = client.get(image)
        assert picture.headers["content-type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")


def test_share_tags_name_the_host_that_the_visitor_asked(two: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"Host": "inside:7860", "X-Forwarded-Proto": "https", "X-Forwarded-Host": 'museum.example"><x'}
    with TestClient(gallery.create({"mc_dropout": CARD}, plain_page)) as client:
        for path in ("/", "/mc_dropout/"):
            tags = dict(Tags(client.get(path, headers=asked).text).found)
            assert tags["og:image"].startswith('https://museum.example"><x/vitrine/pictures/')
    assert "og:image" not in dict(Tags(two.get("/idea_0/").text).found)  # has no picture


def test_pictures_and_nothing_else(two: TestClient) -> None:
    assert two.get("/vitrine/pictures/mc_dropout-light.png").status_code == 200
    for path in ("nobody.png", "..%2F..%2Fpyproject.toml", "%2e%2e", "mc_dropout-light.png%00"):
        assert two.get(f"/vitrine/pictures/{path}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "..%2F..%2Fpyproject",
        "mc_dropout/..",
        "mc_dropout/%2e%2e",
        "mc_dropout/dropout%00",
        "mc_dropout/nobody",
        "%2Fetc/hosts",
    ],
)
def test_model_cards_and_nothing_else(two: TestClient, path: str) -> None:
    answer = two.get(f"/vitrine/models/{path}")
    assert answer.status_code == 404
    assert "[project]" not in answer.text


def test_a_model_card(two: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHECKPOINTS", tmp_path)
    folder = tmp_path / "toy" / "plain"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("What this is.")
    assert two.get("/vitrine/models/toy/plain").text == "What this is."


# ---- damaged weights


def damage_config(folder: Path) -> None:
    """Take away one leaf."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["network"]
    path.write_text(json.dumps(config))


def damage_weights(folder: Path) -> None:
    """Flip one byte near the end: still a file of the right size."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 255
    path.write_bytes(content)


def damage_leaf(folder: Path) -> None:
    """Store one tensor in another shape, with a hash that fits."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    leaf = sorted(tensors)[0]
    save_file({**tensors, leaf: tensors[leaf][:1].clone()}, path)
    config = json.loads((folder / "config.json").read_text())
    config["files"][path.name] = store.sha256(path)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (damage_config, "mc_dropout/dropout/config.json: network is missing"),
        (damage_weights, "mc_dropout/dropout/model.safetensors is damaged"),
        (damage_leaf, r"mc_dropout/dropout/model.safetensors: \S+ has shape"),
    ],
)
def test_damaged_weights_are_named(
    damage: Callable[[Path], None], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(store.CHECKPOINTS / "mc_dropout", tmp_path / "mc_dropout")
    (tmp_path / "mc_dropout" / "first.json").unlink(missing_ok=True)  # the page has to compute its first answer
    damage(tmp_path / "mc_dropout" / "dropout")
    monkeypatch.setattr(store, "CHECKPOINTS", tmp_path)
    # The app's file is run anew: what an earlier test loaded must not stand in for the damaged weights.
    for name in [name for name in sys.modules if name == "apps.mc_dropout"]:
        monkeypatch.delitem(sys.modules, name)
    topics = {"mc_dropout": CARD, **made_up(1)}

    def build(slug: str) -> gr.Blocks:
        return gallery.build_space(slug) if slug == "mc_dropout" else plain_page(slug)

    with TestClient(gallery.create(topics, build)) as client:
        page = client.get("/mc_dropout/")
        assert page.status_code == 503
        assert re.search(named, page.text)
        assert str(tmp_path) not in page.text
        assert client.get("/idea_0/").status_code == 200
        assert client.get("/").status_code == 200


# ---- forty topics


@pytest.mark.alone
def test_forty_topics(capsys: pytest.CaptureFixture) -> None:
    gallery.home_page(made_up(1))  # reads the scores once
    begin = time.perf_counter()
    page = gallery.home_page(made_up(40))
    home_ms = 1000 * (time.perf_counter() - begin)
    assert page.count("class='card'") == 40
    assert page.count("<section>") == 4
    with TestClient(gallery.create(made_up(40), plain_page)) as client:
        client.get("/idea_0/")
        before, begin = gallery.memory_mb(), time.perf_counter()
        for number in range(1, 40):
            assert client.get(f"/idea_{number}/").status_code == 200
        each_s, each_mb = (time.perf_counter() - begin) / 39, (gallery.memory_mb() - before) / 39
    with capsys.disabled():
        print(f"\n  home page of 40 topics: {home_ms:.0f} ms; a further Space: {each_s:.2f} s and {each_mb:.1f} MB")
    assert each_mb < 20


# ---- the process


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = serving.start(tmp_path / "log", port=taken.getsockname()[1])
        assert process.wait(serving.START_S) == 1
    lines = (tmp_path / "log").read_text().strip().splitlines()
    assert len(lines) == 1
    assert "GRADIO_SERVER_PORT" in lines[0]


@pytest.mark.alone
def test_start_memory_and_end(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with serving.gallery(tmp_path / "log") as served:
        before = served.health()
        begin = time.monotonic()
        page = httpx.get(f"{served.url}/mc_dropout/", timeout=60)
        first_s = time.monotonic() - begin
        after = served.health()
        begin = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(60)
        end_s = time.monotonic() - begin
    with capsys.disabled():
        print(
            f"\n  first byte after {served.start_s:.1f} s, {before['memory_mb']} MB before the first Space, "
            f"{after['memory_mb']} MB after it; its page {first_s:.1f} s after being asked for; ended in {end_s:.1f} s"
        )
    assert page.status_code == 200
    assert before["memory_mb"] <= MEMORY_MB
    assert end_s <= STOP_S
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_for_the_class(tmp_path: Path) -> None:
    log, port, lab_port = tmp_path / "log", serving.free_port(), serving.free_port()
    process = serving.start(log, "--class", port=port, environment={"STREAMLIT_SERVER_PORT": str(lab_port)})
    try:
        serving.wait_until_up(f"http://127.0.0.1:{port}", process, log)
        text = log.read_text()
        lab = httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=30)
        assert lab.get(f"http://127.0.0.1:{lab_port}/_stcore/health").status_code == 200
        assert re.search(rf"Lab · http://[\d.]+:{lab_port}", httpx.get(f"http://127.0.0.1:{port}/", timeout=30).text)
    finally:
        process.terminate()
        process.wait(60)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{lab_port}/", timeout=5)
    assert re.search(rf"http://[\d.]+:{port}/", text)
    assert sum(text.count(block) for block in "█▀▄") > 100, "a QR code"


def test_the_gallery_asks_for_no_space_before_a_visitor_does(tmp_path: Path) -> None:
    """What is imported at start decides how soon the first byte comes."""
    code = "import sys; import apps.gallery; print('apps.mc_dropout' in sys.modules, 'torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=serving.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
