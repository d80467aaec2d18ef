"""Build the page: one HTML file with its scripts inlined, and models and ONNX Runtime Web too, under a strict policy.

The scripts in `page/` are ES modules, for editors and the type checker. They are joined in the order of their
imports, without a bundler: `import` lines go, and `export` goes from the declarations.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

PAGE_DIR = Path(__file__).with_name("page")
_IMPORT = re.compile(r'^import \{(?:(?! as )[^}])*\} from "(?P<path>\.[\w./]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) )", re.MULTILINE)


class PageModel(NamedTuple):
    """A model of the page."""

    card: dict[str, Any]
    """What the page needs to know: see `Card` in page/runtime.js."""
    graph: bytes | None
    """An ONNX graph of pictures, in gzip; None if it is not part of the page."""


def build_page(models: Sequence[PageModel], service: bool = False, needs_token: bool = False) -> str:
    """Build the page as the text of an HTML file.

    Args:
        service: the page belongs to a service, which reads too, and sends the runtime and the graphs when asked.
        needs_token: the service needs a token.
    """
    graphs = {model.card["graph"]: model.graph for model in models if model.graph is not None}
    packed = graphs if service else {"runtime": packed_runtime(), **graphs}
    data = [_data_element("cards", json.dumps([model.card for model in models]))]
    data += [_data_element(name, base64.b64encode(content).decode()) for name, content in packed.items()]
    scripts, style = [_runtime_script(), join_modules("main.js")], (PAGE_DIR / "style.css").read_text(encoding="utf-8")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'wasm-unsafe-eval' {' '.join(_hash_source(script) for script in scripts)}",
            f"style-src {_hash_source(style)}",
            "img-src blob:",
            "connect-src 'self'" if service else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    parts = {
        "policy": policy,
        "style": style,
        "token": "" if needs_token else "hidden",
        "data": "\n".join(data),
        "scripts": "\n".join(f'<script type="module">{script}</script>' for script in scripts),
    }
    template = (PAGE_DIR / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: parts[match[1]], template)


def packed_runtime() -> bytes:
    """Return the WebAssembly of ONNX Runtime Web, in gzip."""
    return (PAGE_DIR / "vendor" / "ort-wasm-simd-threaded.wasm.gz").read_bytes()


def join_modules(entry: str) -> str:
    """Join a module and what it imports into one script, every module once and after those that it imports.

    Raises:
        ValueError: a circle, an import or export of another form, or a name that two modules declare.
    """
    joined: dict[Path, str] = {}

    def add(path: Path, importers: tuple[Path, ...]) -> None:
        if path in importers:
            raise ValueError(f"{path.name} imports itself")
        if path in joined:
            return
        text = path.read_text(encoding="utf-8")
        for match in _IMPORT.finditer(text):
            add((path.parent / match["path"]).resolve(), (*importers, path))
        joined[path] = _EXPORT.sub("", _IMPORT.sub("", text))

    add(PAGE_DIR / entry, ())
    script = "\n".join(joined.values())
    if left := re.search(r"^\s*(?:import|export)\b.*", script, re.MULTILINE):
        raise ValueError(f"this line is neither `import {{ a }} from` nor `export` of a declaration: {left[0]}")
    names = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", script, re.MULTILINE)
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two modules declare {', '.join(sorted(twice))}")
    if "</script" in script or "<!--" in script:
        raise ValueError("a script of a page must not contain </script or <!--")
    return script


def _runtime_script() -> str:
    """ONNX Runtime Web as a script that sets `globalThis.ort`.

    Raises:
        ValueError: another version of it has another form.
    """
    text = (PAGE_DIR / "vendor" / "ort.wasm.bundle.min.mjs").read_text(encoding="utf-8")
    exports = re.search(r"export\{([^}]*)\};?\s*(//#.*)?\s*$", text)
    if exports is None:
        raise ValueError("ONNX Runtime Web does not end in its exports")
    names = [name.strip().partition(" as ") for name in exports[1].split(",")]
    members = ",".join(f"{exported or local}:{local}" for local, _, exported in names)
    script = f"{text[: exports.start()]}globalThis.ort={{{members}}};"
    # it resolves its own address, which Firefox refuses for files; nothing is fetched from there
    return script.replace("import.meta.url", '"https://page.invalid/ort.mjs"')


def _data_element(name: str, text: str) -> str:
    """Return an element that holds JSON or base64: no script runs in it, and nothing in it is markup."""
    safe = text.replace("<", "\\u003c")  # base64 has none, and JSON reads it as the same
    return f'<script type="text/plain" id="{escape(name)}">{safe}</script>'


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
