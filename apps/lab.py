"""The lab: concept pages in Streamlit, `make lab` or `streamlit run apps/lab.py`."""

from pathlib import Path

import streamlit as st

from core import card as cards
from core import draw

HERE = Path(__file__).resolve().parent


def home() -> None:
    """Every page with its question, by family."""
    place = 1 if st.context.theme.type == "dark" else 0
    st.html(f"<style>.stApp h1{{color:{draw.TOKENS['ink'][place]};}}</style>")
    st.title("The lab")
    st.markdown("Ideas that need a figure to play with, and no large model. Each page is one question.")
    for family, members in offered.items():
        st.subheader(family)
        for page, card in members:
            st.page_link(page, label=card.question)
            st.caption(card.claim)


@st.cache_resource
def lab_cards() -> dict[str, cards.Card]:
    """Slug -> card of each page, found by walking the topics."""
    return {slug: cards.load(slug).CARD for slug in cards.topics(surface="lab")}


def families() -> dict[str, list[tuple[st.Page, cards.Card]]]:
    """Family -> pages with their cards; made in every run, since Streamlit notes in a page that it is shown."""
    found: dict[str, list[tuple[st.Page, cards.Card]]] = {}
    for slug, card in lab_cards().items():
        page = st.Page(HERE / "lab_pages" / f"{slug}.py", title=card.question, url_path=slug)
        found.setdefault(card.family, []).append((page, card))
    return found


st.set_page_config(page_title="Lab · Vitrine", layout="wide")
offered = families()
front = st.Page(home, title="The lab", default=True)
st.navigation(
    {"": [front], **{name: [page for page, _ in members] for name, members in offered.items()}}, position="top"
).run()
