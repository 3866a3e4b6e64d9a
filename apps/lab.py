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
    for family, members in families().items():
        st.subheader(family)
        for page, card in members:
            st.page_link(page, label=card.question)
            st.caption(card.claim)


@st.cache_resource
def families() -> dict[str, list[tuple[st.Page, cards.Card]]]:
    """Family -> pages with their cards, found by walking the topics."""
    found: dict[str, list[tuple[st.Page, cards.Card]]] = {}
    for slug in cards.topics(surface="lab"):
        card = cards.load(slug).CARD
        page = st.Page(HERE / "lab_pages" / f"{slug}.py", title=card.question, url_path=slug)
        found.setdefault(card.family, []).append((page, card))
    return found


st.set_page_config(page_title="Lab · Vitrine", layout="wide")
front = st.Page(home, title="The lab", default=True)
st.navigation(
    {"": [front], **{name: [page for page, _ in members] for name, members in families().items()}}, position="top"
).run()
