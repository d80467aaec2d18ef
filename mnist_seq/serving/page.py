"""The page to play with, as Streamlit runs it: `python -m mnist_seq.app`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import streamlit as st

from mnist_seq.config.trust import Trust
from mnist_seq.errors import UserError
from mnist_seq.inference import pretrained
from mnist_seq.inference.reader import Reader, load
from mnist_seq.serving import drawing, render_html
from mnist_seq.serving.explain import look
from mnist_seq.serving.inputs import WAYS, Brought, Way


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run")
    parser.add_argument("--trust")
    asked = parser.parse_args(arguments)
    st.set_page_config(page_title="mnist_seq", page_icon=drawing.icon(), layout="wide")
    st.html(Path(__file__).with_name("page.css"))
    st.title("A reader of digits", anchor=False)
    chosen = _choose(asked.run, True if asked.trust == "true" else asked.trust)
    if chosen is None:
        return
    name, reader = chosen
    st.html(render_html.introduction(name, reader.model.spec, reader.card))
    way = st.segmented_control(
        "Bring a picture",
        list(WAYS),
        default="Draw",
        required=True,
        label_visibility="collapsed",
        key="way",
    )
    bring, hint = WAYS[way]
    lengthy = drawing.lengthy(reader.model.spec)  # a line of digits takes the width of the page
    left, right = (st.container(), st.container()) if lengthy else st.columns([5, 6], gap="medium")
    with left:
        brought = _bring(bring, reader, name)
    with right:
        _read(reader, brought, hint)


def _choose(run: str | None, trust: Trust = None) -> tuple[str, Reader] | None:
    """An included model, or the one that the page was started with."""
    places = {name: f"{pretrained.PREFIX}{name}" for name in pretrained.list_models()}
    if run in places.values():
        places = {str(run).removeprefix(pretrained.PREFIX): str(run)} | places
    elif run:
        called = Path(run).name or run
        places = {run if called in places else called: run} | places
    if not places:
        st.info("No reader is at hand: train one, and start the page with --run outputs/<date>/<time>.")
        return None
    name = next(iter(places))
    if len(places) > 1:
        name = st.segmented_control("Reader", list(places), default=name, required=True, key="reader")
    try:
        return name, _loaded(places[name], trust)
    except UserError as problem:
        st.error(_line(problem))
        return None


def _bring(bring: Way, reader: Reader, name: str) -> list[Brought]:
    try:
        return bring(reader, name)
    except UserError as problem:
        st.error(_line(problem))
        return []


def _read(reader: Reader, brought: list[Brought], hint: str) -> None:
    if not brought:
        st.caption(hint)
        return
    try:
        looks = look(reader, [it.picture for it in brought])
    except UserError as problem:
        st.error(_line(problem))
        return
    for it, seen in zip(brought, looks, strict=True):
        st.html(render_html.reading(seen, it.scene, it.name if len(brought) > 1 else ""))


@st.cache_resource(show_spinner="Loading the reader …", max_entries=4)
def _loaded(place: str, trust: Trust) -> Reader:
    return load(place, trust=trust)


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())


if __name__ == "__main__":
    main(sys.argv[1:])
