"""The five commands of the README, from a folder of pictures to a served model, on a folder that is drawn here."""

from __future__ import annotations

import base64
import csv
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.vocabulary import decode
from tests.data.preset_configs import pool, preset
from tests.e2e.forked_command import run
from tests.e2e.readme_commands import ROOT
from tests.serving.service_process import Service

pytestmark = pytest.mark.slow
TINY = ("init_from=null", "model.dim=16", "model.num_heads=2", "model.encoder_depth=1", "data.synthetic.digits=uci")
TINY += ("data.batch_size=16", "trainer.max_steps=6", "trainer.val_check_interval=3", "report=false")


def readme_commands() -> list[list[str]]:
    section = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Your own pictures\n")[2].partition("\n## ")[0]
    )
    return [line.split()[2:] for line in section.splitlines() if line.startswith("python -m ")]


def draw_numbers(directory: Path, num: int = 30) -> list[Path]:
    """Dark numbers on light paper of different sizes, named by what they show."""
    directory.mkdir()
    scenes = SyntheticDataset(preset("line", "data.max_digits=5", "data.p_mark=0"), pool("train"))[:num]
    generator, paths = np.random.default_rng(0), []
    for index, (image, digits) in enumerate(zip(scenes.images[:, 0].numpy(), decode(scenes.digits), strict=True)):
        top, left, bottom, right = generator.integers(5, 80, 4)
        paper = np.pad(255 - image // 2 * 2, ((top, bottom), (left, right)), constant_values=255)
        paths.append(directory / f"{''.join(map(str, digits)) or 'none'}_{index}.png")
        Image.fromarray(paper).save(paths[-1])
    return paths


def test_five_commands_lead_from_a_folder_to_a_service(tmp_path: Path) -> None:
    pictures = draw_numbers(tmp_path / "my_numbers")
    (tmp_path / "photo.jpg").write_bytes(pictures[0].read_bytes())
    train, evaluate, read, export, serve = readme_commands()
    out, err = run(tmp_path, *train, *TINY)
    assert "my_numbers: labels from file names; 24 train, 6 val" in err
    assert "50 % of the training scenes are synthetic: line of uci" in err
    out, _ = run(tmp_path, *evaluate)
    with (tmp_path / "outputs/mine/evaluations/val/suspects.csv").open(encoding="utf-8") as file:
        assert f"another reading: {len(list(csv.DictReader(file)))}, in " in out
    with (tmp_path / "outputs/mine/evaluations/val/scenes.csv").open(encoding="utf-8") as file:
        assert {row["file"] for row in csv.DictReader(file)} < {path.name for path in pictures}
    out, _ = run(tmp_path, *read)
    read_digits = [int(digit) for digit in out.partition(": ")[2].partition("(")[0] if digit.isdigit()]
    run(tmp_path, *export)
    assert list((tmp_path / "outputs/exported").glob("*.html"))
    assert serve == ["mnist_seq.serve", "run=outputs/mine"]
    with Service(tmp_path / "outputs/mine") as service:
        body = json.dumps({"images": [base64.b64encode(pictures[0].read_bytes()).decode()]}).encode()
        request = urllib.request.Request(f"{service.url}/read", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)["readings"][0]["digits"] == read_digits
        assert service.stop() == 0
