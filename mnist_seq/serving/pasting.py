"""Pictures from the clipboard: what is pasted on the page goes to its file uploader, which has no paste of its own."""

from __future__ import annotations

import streamlit as st

_SCRIPT = """
export default function ({ data }) {
  const paste = (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    const input = document.querySelector(`.st-key-${data.uploader} input[type=file]`);
    if (!files.length || !input) return;
    event.preventDefault();
    const handed = new DataTransfer();
    for (const file of files) handed.items.add(file);
    input.files = handed.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
"""
_listen = st.components.v2.component("mnist_seq_paste", js=_SCRIPT)


def into(uploader: str) -> None:
    """Hand pictures that are pasted anywhere on the page to a file uploader.

    Args:
        uploader: its key.
    """
    _listen(key=f"paste-{uploader}", data={"uploader": uploader}, height="content")
