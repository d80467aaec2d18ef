"""Readers that suite ocr compares: ours, PP-OCRv6 small and Tesseract 5, each on one thread of a CPU.

What the others want of a picture is done for them, as their documentation advises, and counts in their time. Their
settings were chosen on handwritten numbers: the best of those that were tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mnist_seq.config.trust import Trust
from mnist_seq.data.labels import Label
from mnist_seq.data.trained_images import select_trained
from mnist_seq.errors import UserError
from mnist_seq.inference import reader, weights

_DET_SIDE = 640
"""Largest longer side of a picture in which PP-OCRv6 looks for text, pixels. RapidOCR's default, a shorter side of at
least 736, enlarges a line of text to several megapixels, and no more digits are read."""
_DET_BORDER = 0.25
"""Border around that picture, as a fraction of its height: text that touches the edge is not found."""
_TESSERACT_HEIGHT, _TESSERACT_BORDER = 64, 16
"""Height that pictures are scaled to, and border around them, pixels: a row of digits becomes about 40 pixels high, two
rows 20 each; Tesseract reads 20 to 40 best, and nothing that touches the edge."""
_TESSDATA_DIRS = (
    "/usr/share/tesseract-ocr/5/tessdata",  # Debian
    "/usr/share/tesseract/tessdata",  # Fedora
    "/usr/share/tessdata",  # Arch
    "/usr/local/share/tessdata",  # a build from source
    "/opt/homebrew/share/tessdata",
)


class OcrReader(NamedTuple):
    """A reader of pictures."""

    name: str
    read: Callable[[Image.Image], list[int]]
    """RGB picture -> digits."""
    num_bytes: int
    """Size of its model files."""


def our_reader(run: str, trust: Trust, labels: Sequence[Label]) -> OcrReader:
    """A model of ours, through `Reader.read`.

    Args:
        run, trust: as in `inference.reader.load`.
        labels: of the pictures that it will read.

    Raises:
        UserError: as `inference.reader.load` does; or the model was trained on some of the pictures.
    """
    ours = reader.load(run, "cpu", trust)
    if trained := select_trained(labels, ours.card.get("trained_images", "")):
        raise UserError(
            f"run={run} was trained on {len(trained)} of these {len(labels)} pictures, such as {trained[0].image}: "
            "name other pictures"
        )
    return OcrReader(run, lambda image: ours.read(image).digits, weights.find_weights(run).stat().st_size)


def parse_digits(lines: Iterable[str]) -> list[int]:
    """The digits of lines of text, from the first line to the last; every character but 0-9 is dropped."""
    return [int(char) for line in lines for char in line if char in "0123456789"]


# ------------------------------------------------------------------------------------------------------ PP-OCRv6 small


def pp_ocr_readers() -> list[OcrReader]:
    """PP-OCRv6 small in RapidOCR: recognition of the whole picture as one line, and of the lines that are detected."""
    from rapidocr import RapidOCR, main

    main.cv2.setNumThreads(1)  # of this process
    rec_path, det_path = _find_pp_ocr_models()
    engine = RapidOCR(
        params={
            "Rec.model_path": str(rec_path),  # a path that is given is never downloaded
            "Det.model_path": str(det_path),
            "Global.log_level": "critical",
            "Det.limit_type": "max",
            "Det.limit_side_len": _DET_SIDE,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )

    def read_lines(image: Image.Image, detect: bool) -> list[int]:
        """Pictures are upright: no line is turned by 180 degrees."""
        return parse_digits(engine(image, use_det=detect, use_cls=False, use_rec=True).txts or ())

    def recognize(image: Image.Image) -> list[int]:
        return read_lines(image, detect=False)

    def detect_and_recognize(image: Image.Image) -> list[int]:
        """Boxes are in reading order. A picture without any is recognized as a whole."""
        bordered = ImageOps.expand(image, round(_DET_BORDER * image.height), _background(image))
        return read_lines(bordered, detect=True) or recognize(image)

    rec_size, det_size = rec_path.stat().st_size, det_path.stat().st_size
    return [
        OcrReader("PP-OCRv6 small rec", recognize, rec_size),
        OcrReader("PP-OCRv6 small det+rec", detect_and_recognize, rec_size + det_size),
    ]


def _pp_ocr_missing() -> str | None:
    installed = find_spec("onnxruntime") and find_spec("rapidocr") and all(it.is_file() for it in _find_pp_ocr_models())
    return None if installed else "make baselines"


def _find_pp_ocr_models() -> list[Path]:
    """Recognition and detection, in the wheel of RapidOCR."""
    (package_dir,) = find_spec("rapidocr").submodule_search_locations  # type: ignore[union-attr, misc]
    return [Path(package_dir, "models", f"PP-OCRv6_{stage}_small.onnx") for stage in ("rec", "det")]


# --------------------------------------------------------------------------------------------------------- Tesseract 5


def tesseract_readers() -> list[OcrReader]:
    """Tesseract 5 in this process: its neural network, English, digits alone allowed, a block of text (`--psm 6`)."""
    import tesserocr

    tessdata = _find_tessdata()
    assert tessdata
    api = tesserocr.PyTessBaseAPI(
        path=f"{tessdata}/", lang="eng", psm=tesserocr.PSM.SINGLE_BLOCK, oem=tesserocr.OEM.LSTM_ONLY
    )
    api.SetVariable("tessedit_char_whitelist", "0123456789")

    def read(image: Image.Image) -> list[int]:
        grey = _prepare_for_tesseract(image)
        api.SetImageBytes(grey.tobytes(), grey.width, grey.height, 1, grey.width)
        return parse_digits(api.GetUTF8Text().splitlines())

    version = tesserocr.tesseract_version().split()[1]
    return [OcrReader(f"Tesseract {version}", read, (tessdata / "eng.traineddata").stat().st_size)]


def _prepare_for_tesseract(image: Image.Image) -> Image.Image:
    """Grey, dark on light, scaled and bordered."""
    grey = image.convert("L")
    if _background(grey)[0] < 128:
        grey = ImageOps.invert(grey)
    width = max(1, round(grey.width * _TESSERACT_HEIGHT / grey.height))
    grey = grey.resize((width, _TESSERACT_HEIGHT), Image.Resampling.BICUBIC)
    return ImageOps.expand(grey, _TESSERACT_BORDER, _background(grey))


def _tesseract_missing() -> str | None:
    if find_spec("tesserocr") is None:
        return "make baselines"
    return None if _find_tessdata() else "apt-get install tesseract-ocr-eng"


def _find_tessdata() -> Path | None:
    folders = [Path(it) for it in (os.environ.get("TESSDATA_PREFIX"), *_TESSDATA_DIRS) if it]
    return next((folder for folder in folders if (folder / "eng.traineddata").is_file()), None)


def _background(image: Image.Image) -> tuple[int, ...]:
    """Median of the border, channel by channel."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    border: Any = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(level) for level in np.median(border, 0))


class Baseline(NamedTuple):
    """Readers of another library."""

    missing: Callable[[], str | None]
    """The command that installs it; None where it is installed."""
    build: Callable[[], list[OcrReader]]


BASELINES = {
    "PP-OCRv6": Baseline(_pp_ocr_missing, pp_ocr_readers),
    "Tesseract": Baseline(_tesseract_missing, tesseract_readers),
}


def missing_baselines() -> dict[str, str]:
    """Name of each baseline that is not installed -> the command that installs it."""
    return {name: command for name, baseline in BASELINES.items() if (command := baseline.missing())}


def build_baselines() -> list[OcrReader]:
    """Load the baselines that are installed."""
    missing = missing_baselines()
    return [it for name, baseline in BASELINES.items() if name not in missing for it in baseline.build()]
