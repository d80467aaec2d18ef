"""Four ways to bring a picture to the page: draw, upload or paste, photograph, and unseen test scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from mnist_seq.config import DataConfig
from mnist_seq.data import datasets
from mnist_seq.data.image_io import ImageInput
from mnist_seq.inference.reader import Reader
from mnist_seq.serving import drawing, heldout_scenes, pasting
from mnist_seq.serving.heldout_scenes import Scene
from mnist_seq.serving.image_decode import ImageDecodeError, decode_bytes

_PIXELS = 20_000_000
"""Most that are decoded of a picture."""
_MOST = 20
"""Uploaded pictures that are read at once."""


@dataclass(frozen=True)
class Brought:
    """A picture to be read."""

    picture: ImageInput
    name: str = ""
    """Of its file."""
    scene: Scene | None = None
    """Whose truth is known."""


def draw(reader: Reader, name: str) -> list[Brought]:
    """A canvas that is a whole multiple of the model's, so that what is drawn is read as it is."""
    from streamlit_drawable_canvas import st_canvas  # a component: it can be registered only while a page is served

    spec, state = reader.model.spec, st.session_state
    k = drawing.zoom(spec)
    sheet = f"sheet-{name}"
    number = state.setdefault(sheet, 0)
    key = f"{sheet}-{number}"
    st.caption(_task(reader))
    with st.container(key="line" if drawing.lengthy(spec) else "sheet"):
        drawn = st_canvas(
            stroke_width=drawing.pen(spec),
            stroke_color="#ffffff",
            background_image=drawing.guides(spec),
            height=k * spec.height,
            width=k * spec.width,
            initial_drawing=state.get(f"{key}-undone"),
            return_image_data=True,
            key=key,
        )
    strokes = (drawn.json_data or {}).get("objects", [])

    def undo() -> None:
        before = state.get(f"{key}-undone", {"undone": 0})
        state[f"{key}-undone"] = {"objects": strokes[:-1], "undone": before["undone"] + 1}  # the same is not drawn anew

    def clear() -> None:
        state[sheet] = number + 1

    with st.container(horizontal=True):
        st.button("Undo", key="undo", icon=":material/undo:", on_click=undo, disabled=not strokes)
        st.button("Clear", key="clear", icon=":material/delete:", on_click=clear, disabled=not strokes)
    if not strokes or drawn.image_data is None:
        return []
    return [Brought(drawing.sketch(drawn.image_data, spec))]


def upload(reader: Reader, name: str) -> list[Brought]:
    files = st.file_uploader(
        "Pictures, or paste one with Ctrl+V",
        ["png", "jpg", "jpeg", "webp"],
        accept_multiple_files=True,
        key="pictures",
    )
    pasting.into("pictures")
    if len(files) > _MOST:
        st.warning(f"{len(files)} pictures: the first {_MOST} are read.")
    return _opened([(file.name, file.getvalue()) for file in files[:_MOST]])


def photograph(reader: Reader, name: str) -> list[Brought]:
    shot = st.camera_input("Hold the digits close, on plain paper")
    return _opened([("The photograph", shot.getvalue())] if shot else [])


def unseen_scene(reader: Reader, name: str) -> list[Brought]:
    """Found again by its family and index."""
    spec = reader.model.spec
    families = heldout_scenes.families(spec, reader.card.get("data"))
    if not families:
        st.info("No scenes of any family fit this reader's canvas.")
        return []
    state, key = st.session_state, f"index-{name}"
    chosen = st.selectbox("Family", list(families), key=f"family-{name}")
    of = _scenes(families[chosen])
    last = len(of.splits["test"]) - 1
    state[key] = min(state.get(key, 0), last)

    def on() -> None:
        state[key] = (state[key] + 1) % (last + 1)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        index = st.number_input("Scene", 0, last, key=key)
        st.button("Next scene", key="next", icon=":material/arrow_forward:", on_click=on, type="primary")
    scene = heldout_scenes.scene(of, int(index), spec)
    st.image(scene.image, width=drawing.zoom(spec) * spec.width)
    st.caption(f"Test scene {index} of {chosen}, of digits that no model was trained on. {of.notice}")
    return [Brought(scene.image, scene=scene)]


Way = Callable[[Reader, str], list[Brought]]

WAYS: dict[str, tuple[Way, str]] = {
    "Draw": (draw, "What you draw is read here."),
    "Upload": (upload, "What you upload or paste is read here."),
    "Photograph": (photograph, "What you photograph is read here."),
    "Test scenes": (unseen_scene, ""),
}
"""Name -> what it shows, and what stands where the reading will be."""


@st.cache_resource(show_spinner="Preparing scenes …", max_entries=4)
def _scenes(config: DataConfig) -> datasets.DatasetSplits:
    return heldout_scenes.load(config)


def _opened(files: list[tuple[str, bytes]]) -> list[Brought]:
    """Those that can be opened; a line about each that cannot."""
    brought = []
    for name, data in files:
        try:
            brought.append(Brought(decode_bytes(data, _PIXELS), name))
        except ImageDecodeError as problem:
            st.error(f"{name} {problem}.")
    return brought


def _task(reader: Reader) -> str:
    spec = reader.model.spec
    if spec.max_length == 1:
        return "Draw a digit that fills the frame."
    if drawing.cellular(spec):
        sparse = reader.card.get("data", {}).get("p_empty")
        return "Draw digits in the frames." if sparse else "Draw a digit in each frame."
    return f"Draw up to {spec.max_length} digits, each about as tall as the frame."
