"""Images embedded in a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def png_data_uri(image: np.ndarray) -> str:
    """Encode an image, H W or H W 3, uint8, as a data URI."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
