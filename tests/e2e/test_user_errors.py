"""Wrong input to the commands: each ends in one line and leaves no files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_seq.run_dir import Run
from tests.e2e.forked_command import run

pytestmark = pytest.mark.slow
USER_ERRORS = {
    "an unknown key": ("train model.width=3", "model.width=3 is unknown: model has no key width; choose from"),
    "a misspelt key": ("train model.patchsize=7", "did you mean patch_size?"),
    "a misspelt key of the command": ("train sed=1", "this command has no key sed; did you mean seed?"),
    "an unknown option": ("train model=rnn", "model=rnn is unknown: choose from classifier"),
    "a misspelt option": ("train data/augment=strang", "data/augment=strang is unknown: did you mean strong?"),
    "a wrong type": ("train model.dim=wide", "model.dim=wide is invalid: Value 'wide' of type 'str' could not be"),
    "a key of a group that is not chosen": (
        "evaluate run=RUN data.digits=uci",
        "data.digits=uci has no effect, since data is not chosen: add data=PRESET",
    ),
    "no override": ("train model.dim", "Error parsing override 'model.dim'"),
    "heads that do not divide": ("train model.num_heads=3", "model.num_heads=3 does not divide model.dim=128"),
    "no scenes": ("train data.batch_size=0", "data.batch_size=0 must be at least 1"),
    "no steps": ("train trainer.max_steps=0", "trainer.max_steps=0 must be at least 1"),
    "too large a patch": (
        "train model.patch_size=64 data.digits=uci",
        "model.patch_size=64 is larger than the 56x56 image",
    ),
    "a loss for other models": ("train loss=multiset model=classifier data.digits=uci", "choose model=enc_dec"),
    "nothing to begin with": ("train init_from=gone data.digits=uci", "gone does not exist"),
    "no model of one's own": ("train model=custom", "model._target_ is empty"),
    "rotations in odd numbers": ("train model.pos_embed=rotary model.head_dim=6", "must be a multiple of 4"),
    "nothing to resume": ("train resume=gone", "gone does not exist"),
    "a run that is a file": ("train resume=text.png", "text.png is a file: give a run directory"),
    "no run that stopped": ("train resume=latest", "resume=latest: no run under"),
    "no model chosen": ("train model=null", "model=null is not possible: choose from classifier"),
    "an included model as a path": ("evaluate run=grid", "grid does not exist: give a run directory"),
    "no included model": ("evaluate run=pretrained:gone", "pretrained=gone is unknown: choose from"),
    "no such trust": ("evaluate run=RUN trust=a/b", "trust=a/b must be true, false or the name of a module"),
    "no run to resume": ("train resume=folder", "folder is not a run directory"),
    "nowhere to write": ("train hydra.run.dir=text.png/run", "text.png is not a writable directory"),
    "a sweep as one run": ("train experiment=sets data.digits=uci", "is a sweep over"),
    "no such search": ("search search=gone", "search=gone is unknown: choose from"),
    "a search of nothing": ("search n_trials=0", "n_trials=0 must be at least 1"),
    "a search for what is not there": ("search overrides=['model.width=3']", "model.width=3 is unknown"),
    "a search without its database": ("search storage=nowhere://", "storage=nowhere:// cannot be opened"),
    "no slots": ("train -m seed=0,1 hydra/launcher=devices hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0 must be"),
    "no run": ("evaluate run=gone", "gone does not exist"),
    "no run anywhere": ("evaluate", "no trained run under"),
    "no checkpoint in it": ("evaluate run=folder", "holds neither"),
    "no checkpoint": ("evaluate run=text.ckpt", "text.ckpt is not a checkpoint"),
    "no weights": ("evaluate run=text.png", "text.png is not a safetensors file"),
    "no run to export": ("export run=gone", "gone does not exist"),
    "no form of export": ("export run=RUN format=pickle", "format=pickle is unknown: choose from weights, onnx"),
    "no name for a folder": ("export run=RUN name=../up", "name=../up must be letters"),
    "nowhere to export to": (
        "export run=RUN output_dir=text.png",
        "output_dir=text.png/grid cannot be created as a folder",
    ),
    "results of nobody": ("results models=[nobody]", "models=nobody is unknown: choose from"),
    "results of no scenes": ("results scenes=0", "scenes=0 must be at least 1"),
    "results to nowhere": ("results readme=gone.md", "readme=gone.md does not exist"),
    "results without their place": ("results tables=text.png", "text.png needs a line <!-- results -->"),
    "scenes disturbed too far": ("evaluate run=RUN corruptions.noise=2", "corruptions.noise=2.0 must lie in 0..1"),
    "other seeds that are not there": ("export run=RUN seed_runs=[gone]", "gone does not exist"),
    "no reader to serve": ("serve run=gone", "gone does not exist: give a run directory"),
    "ONNX Runtime on a GPU": ("serve engine=onnx device=cuda", "engine=onnx reads on the CPU, not on device=cuda"),
    "a queue too short": ("serve limits.queue_size=2", "limits.files=64 do not fit into limits.queue_size=2"),
    "no such port": ("serve port=99999", "port=99999 must lie in 0..65535"),
    "no address to serve at": ("serve host=192.0.2.1", "host=192.0.2.1 port=8000 cannot be bound"),
    "several models, but no page": (
        "export run=[pretrained:line,pretrained:grid] format=onnx",
        "only format=page accepts several models, each once",
    ),
    "a page that is to calibrate": (
        "export run=pretrained:line format=page calibrate_on=pictures",
        "format=page ignores seed_runs and calibrate_on",
    ),
    "a page of the same model twice": (
        "export run=[pretrained:line,pretrained:line] format=page",
        "only format=page accepts several models, each once",
    ),
    "no picture": ("read gone.png --run RUN", "gone.png does not exist"),
    "not a picture": ("read text.png --run RUN", "text.png is not a readable image"),
    "scenes of another size": ("evaluate run=RUN data=single", "28x28 scenes, but"),
    "an unknown split": ("evaluate run=RUN split=dev", "split=dev is unknown"),
    "longer scenes than it writes": ("evaluate run=RUN data=grid_3x3", "84x84 scenes, but"),
    "too many digits": ("train data=scatter data.max_digits=8", "choose at most data.max_digits=4, or data.height=84"),
    "a classifier of heaps": ("train model=classifier data=overlap data.digits=uci", "choose model=enc_dec"),
    "a folder that is not there": ("train data.from=gone", "gone is not a directory"),
    "a folder without labels": ("train data.from=folder", "contains neither labels.jsonl nor labels.csv"),
    "two sources of scenes": ("train data=grid data.from=folder", "leave out data=grid"),
    "nothing to synthesise": ("synthesise data=grid", "give output_dir=DIR for a dataset, or preview=true"),
    "no picture to look at": ("synthesise preview=text.txt", "preview=text.txt is neither true nor a path"),
    "no room for a data set": ("synthesise output_dir=text.png data.digits=uci", "text.png is not empty"),
    "nowhere for a data set": ("synthesise output_dir=text.png/set data.digits=uci", "text.png"),
    "a report of nothing": ("report run=gone", "gone does not exist"),
    "a report nowhere": ("report run=RUN output=text.png/page.html", "text.png"),
    "a judgement nowhere": ("evaluate run=RUN scenes=9 output_dir=text.png", "text.png"),
    "an odd wish for a report": ("train report=perhaps", "report=perhaps must be true, false or auto"),
    "an unknown suite": ("bench suite=disk", "suite=disk is unknown"),
    "pictures that nobody reads": ("bench suite=startup images=folder", "images=folder is read by suite=ocr alone"),
    "no pictures to compare on": ("bench suite=ocr", "suite=ocr needs images=DIR"),
    "pictures that are not there": ("bench suite=ocr images=gone", "images=gone is not a directory"),
    "pictures without labels": ("bench suite=ocr images=folder", "contains neither labels.jsonl nor labels.csv"),
}


@pytest.mark.parametrize("case", USER_ERRORS)
def test_a_user_error_ends_in_one_line_and_changes_no_file(case: str, tmp_path: Path, tiny_run: Run) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("text.png", "text.ckpt"):
        (tmp_path / name).write_text("just words")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    command, message = USER_ERRORS[case]
    name, *arguments = command.replace("RUN", str(tiny_run.path)).split()
    out, err = run(tmp_path, f"mnist_seq.{name}", *arguments, code=1)
    assert message in err
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1, err
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_unknown_key_of_a_sweep_ends_in_one_line_and_starts_no_job(tmp_path: Path) -> None:
    _, err = run(tmp_path, "mnist_seq.train", "-m", "model.width=3,4", "hydra.sweep.dir=sweep", code=1)
    assert err.startswith("mnist_seq: model.width=3 is unknown: model has no key width")
    assert len(err.strip().splitlines()) == 1, err
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["multirun.yaml"]
