"""A look at a picture as HTML: digits large, how sure of each, what else it might be, and where attention lay."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from mnist_seq.config import Spec
from mnist_seq.inference.model_card import describe_task
from mnist_seq.inference.reading import Reading
from mnist_seq.reporting.data_uri import png_data_uri
from mnist_seq.reporting.overlay import overlay_attention
from mnist_seq.serving.explain import Look
from mnist_seq.serving.heldout_scenes import Scene

_TALL = 6
"""Height of the small pictures, rem."""
_UNLIKELY = 0.0005
"""What is less is neither told from nothing nor listed."""


def introduction(name: str, spec: Spec, card: dict[str, Any]) -> str:
    """What a reader reads, and how well, as far as its card knows."""
    said = f"<b>{escape(name)}</b> reads {describe_task(spec, card.get('data', {}))}."
    scores = card.get("scores", {}).get("test") or card.get("scores", {}).get("val")
    if scores:
        low, high = map(_percent, scores["exact_match_interval"])
        said += (
            f" It is right on {_percent(scores['exact_match'])} of {scores['scenes']:,} scenes of digits "
            f"that it was not trained on (95 % interval: {low} to {high})."
        )
    return f'<div class="ms quiet">{said}</div>'


def reading(look: Look, scene: Scene | None = None, title: str = "") -> str:
    """All that is to say of one look.

    Args:
        scene: what is looked at, where its truth is known.
        title: what it is called, where there are several.
    """
    read = look.reading
    parts = [f"<h2>{escape(title)}</h2>"] if title else []
    parts += [_digits(read) if read.digits else f"<p><b>I see no {'ink' if read.blank else 'digits'}.</b></p>"]
    if scene is not None:
        parts.append(_verdict(scene.digits, scene.right(read.digits)))
    if not read.blank:
        parts.append(f'<p class="quiet">Sure of the whole reading: {_percent(read.confidence)}</p>')
    if others := [it for it in read.alternatives if it.confidence >= _UNLIKELY]:
        parts.append(_alternatives(others))
    parts.append(_looks(look))
    return f'<div class="ms">{"".join(parts)}</div>'


def _digits(read: Reading) -> str:
    each = "".join(
        f'<li><b>{digit}</b><span class="bar"><i style="width: {probability:.0%}"></i></span>'
        f'<span class="percent">{_percent(probability)}</span></li>'
        for digit, probability in zip(read.digits, read.per_digit, strict=True)
    )
    return f'<ol class="digits" aria-label="The reading">{each}</ol>'


def _verdict(truth: list[int], right: bool) -> str:
    name, sign = ("right", "✓ right") if right else ("wrong", "✗ wrong")
    return f'<p><span class="verdict {name}">{sign}</span>It shows {" ".join(map(str, truth)) or "no digits"}.</p>'


def _alternatives(others: list[Reading]) -> str:
    rows = "".join(f"<tr><td>{escape(str(it))}</td><td>{_percent(it.confidence)}</td></tr>" for it in others)
    return f"<h2>It might also be</h2><table>{rows}</table>"


def _looks(look: Look) -> str:
    figures = [_figure("as it sees it", (look.canvas * 255).round().astype(np.uint8))]
    figures += [_figure(name, overlay_attention(look.canvas, weights)) for name, weights in look.attention]
    title = "Where it looks for each digit" if look.attention else "What it sees"
    return f'<h2>{title}</h2><div class="looks">{"".join(figures)}</div>'


def _figure(caption: str, image: np.ndarray) -> str:
    said, width = escape(caption), _TALL * image.shape[1] / image.shape[0]
    return (
        f'<figure style="width: {width:.2f}rem"><img src="{png_data_uri(image)}" alt="{said}">'
        f"<figcaption>{said}</figcaption></figure>"
    )


def _percent(share: float) -> str:
    """Never 100 % of what is not certain."""
    if 1 - _UNLIKELY <= share < 1:
        return "> 99.9 %"
    return f"{share:.1%}".replace("%", " %") if share >= _UNLIKELY else "< 0.1 %"
