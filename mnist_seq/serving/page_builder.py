"""Build the page: one HTML file with models, ONNX Runtime Web and everything else inlined, under a strict policy.

The scripts in `page/` are ES modules for editors and the type checker. They are joined in the order of their imports,
without a bundler: `import` lines go, and `export` goes from the declarations.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

PAGE_DIR = Path(__file__).with_name("page")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(?P<path>[\w./]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) )", re.MULTILINE)


class PageModel(NamedTuple):
    """A model of the page."""

    card: dict[str, Any]
    """What the page needs to know: see `Card` in page/runtime.js."""
    graph: bytes
    """An ONNX graph of pictures, with attention among its outputs."""


class PageExample(NamedTuple):
    """A scene that the page shows."""

    model: str
    png: bytes
    digits: list[int]


def build_page(models: Iterable[PageModel], examples: Iterable[PageExample]) -> str:
    """Build the page as the text of an HTML file."""
    models = list(models)
    runtime = (PAGE_DIR / "vendor" / "ort-wasm-simd-threaded.wasm.gz").read_bytes()
    shown = [
        {"model": it.model, "image": f"data:image/png;base64,{base64.b64encode(it.png).decode()}", "digits": it.digits}
        for it in examples
    ]
    data = [
        _data_element("cards", json.dumps([model.card for model in models])),
        _data_element("examples", json.dumps(shown)),
        _data_element("runtime", base64.b64encode(runtime).decode()),
        *(
            _data_element(
                f"model-{model.card['name']}", base64.b64encode(gzip.compress(model.graph, 9, mtime=0)).decode()
            )
            for model in models
        ),
    ]
    scripts, style = [_runtime_script(), join_modules("main.js")], (PAGE_DIR / "style.css").read_text(encoding="utf-8")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'wasm-unsafe-eval' {' '.join(_hash_source(script) for script in scripts)}",
            f"style-src {_hash_source(style)}",
            "img-src blob: data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    parts = {
        "policy": policy,
        "style": style,
        "data": "\n".join(data),
        "scripts": "\n".join(f'<script type="module">{script}</script>' for script in scripts),
    }
    template = (PAGE_DIR / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: parts[match[1]], template)


def join_modules(entry: str) -> str:
    """Join a module and what it imports into one script, every module once and after those that it imports."""
    joined: dict[str, str] = {}

    def add(path: str) -> None:
        if path in joined:
            return
        text = (PAGE_DIR / path).read_text(encoding="utf-8")
        joined[path] = ""  # a circle would be visited for ever
        for match in _IMPORT.finditer(text):
            add(match["path"])
        del joined[path]
        joined[path] = _EXPORT.sub("", _IMPORT.sub("", text))

    add(entry)
    return "\n".join(joined.values())


def _runtime_script() -> str:
    """ONNX Runtime Web as a script that sets `globalThis.ort`."""
    text = (PAGE_DIR / "vendor" / "ort.wasm.bundle.min.mjs").read_text(encoding="utf-8")
    exports = re.search(r"export\{([^}]*)\};?\s*(//#.*)?\s*$", text)
    assert exports is not None, "ONNX Runtime Web has changed its form"
    names = [name.strip().partition(" as ") for name in exports[1].split(",")]
    members = ",".join(f"{exported or local}:{local}" for local, _, exported in names)
    return f"{text[: exports.start()]}globalThis.ort={{{members}}};"


def _data_element(name: str, text: str) -> str:
    """Return an element that holds data: no script runs in it, and nothing in it is markup."""
    safe = text.replace("</", "<\\/")  # JSON reads the escaped slash as a slash
    return f'<script type="text/plain" id="{escape(name)}">{safe}</script>'


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
