"""Loaders share scenes out between ranks, epochs and resumed runs."""

from dataclasses import replace
from itertools import chain, islice
from types import SimpleNamespace

import pytest
import torch

from mnist_seq.config import GridConfig
from mnist_seq.data.datamodule import IdLoader, SceneDataModule
from mnist_seq.errors import UserError


def epoch_ids(loader: IdLoader) -> list[int]:
    return [int(index) for batch in loader for index in batch.ids]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_scenes", [1, 7, 8, 23])
def test_ranks_cover_every_scene_exactly_once(world_size: int, num_scenes: int) -> None:
    loaders = [IdLoader("val", 4, num_scenes, rank, world_size) for rank in range(world_size)]
    shares = [epoch_ids(loader) for loader in loaders]
    assert sorted(chain(*shares)) == list(range(num_scenes))
    assert [len(list(loader)) for loader in loaders] == [len(loader) for loader in loaders]


def test_fresh_training_scenes_never_repeat() -> None:
    loaders = [IdLoader("train", 4, 20, rank, 2, finite=False) for rank in range(2)]
    flat = [index for loader in loaders for _ in range(3) for index in epoch_ids(loader)]
    assert len(loaders[0]) == 2
    assert sorted(flat) == list(range(3 * 2 * 2 * 4))


@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize("batches", [1, 3, 8])
def test_epoch_is_a_whole_number_of_optimizer_steps_of_the_same_batches(batches: int, shuffle: int | None) -> None:
    single_step = IdLoader("train", 4, 20, 0, 1, finite=False, shuffle_seed=shuffle)
    accumulated = IdLoader("train", 4, 20, 0, 1, finite=False, shuffle_seed=shuffle, accumulate_grad_batches=batches)
    assert len(accumulated) == {1: 5, 3: 3, 8: 8}[batches]
    expected = [index for _ in range(24) for index in epoch_ids(single_step)]
    actual = [index for _ in range(5) for index in epoch_ids(accumulated)]
    assert actual == expected[: len(actual)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 16])
@pytest.mark.parametrize("num_scenes", [16, 17, 31, 500, 501, 5000])
def test_every_rank_gets_a_validation_batch(num_scenes: int, world_size: int) -> None:
    """A rank without one would block the all-reduce of the others."""
    shares = []
    for rank in range(world_size):
        data = SceneDataModule(GridConfig(digits="uci", val_scenes=num_scenes))
        data.datasets = {"val": range(num_scenes)}  # type: ignore[dict-item]
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, accumulate_grad_batches=1)  # type: ignore[assignment]
        loader = data.val_dataloader()
        assert isinstance(loader, IdLoader)
        assert len(loader) >= 1
        shares.append(epoch_ids(loader))
    assert sorted(chain(*shares)) == list(range(num_scenes))


def test_fewer_val_scenes_than_processes_raise() -> None:
    data = SceneDataModule(GridConfig(digits="uci", val_scenes=3))
    data.datasets = {"val": range(3)}  # type: ignore[dict-item]
    data.trainer = SimpleNamespace(global_rank=0, world_size=4, accumulate_grad_batches=1)  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"3 scenes of val are fewer than the 4 processes.*data.val_scenes"):
        data.val_dataloader()


def test_resumed_loader_continues_with_the_next_batch() -> None:
    uninterrupted = IdLoader("train", 4, 20, 0, 1, finite=False)
    expected = [epoch_ids(uninterrupted) for _ in range(2)]
    first = IdLoader("train", 4, 20, 0, 1, finite=False)
    batches = iter(first)
    yielded = [int(index) for _ in range(3) for index in next(batches).ids]
    second = IdLoader("train", 4, 20, 0, 1, finite=False)
    second.load_state_dict(first.state_dict())
    assert yielded + epoch_ids(second) == expected[0]
    assert epoch_ids(second) == expected[1]


@pytest.mark.parametrize("keys", [{}, {"num_train_scenes": 28}])
def test_batches_are_the_same_however_many_are_rendered_together(keys: dict[str, int]) -> None:
    """Also from the middle of an epoch on, and with a batch of val between two of train."""
    data = SceneDataModule(GridConfig(digits="uci", batch_size=4, val_scenes=5, **keys), seed=1)
    data.setup()
    one_by_one = data.train_dataloader()
    one_by_one.load_state_dict({"num_yielded": 2})
    together = replace(one_by_one, batches_per_render=3)
    val = next(iter(data.val_dataloader()))
    pairs = list(islice(zip(one_by_one, together, strict=True), 8))
    assert [one.num_yielded for one in (one_by_one, together)] == [2 + len(pairs)] * 2
    expected = [data.on_after_batch_transfer(batch, 0) for batch, _ in pairs]
    for (_, batch), scenes in zip(pairs, expected, strict=True):
        for ours, theirs in zip(data.on_after_batch_transfer(batch, 0), scenes, strict=True):
            assert torch.equal(ours, theirs)
        assert len(data.on_after_batch_transfer(val, 0).images) == 5


def test_val_scenes_do_not_depend_on_the_seed_but_training_scenes_do() -> None:
    data = [SceneDataModule(GridConfig(digits="uci"), seed) for seed in (0, 1)]
    for module in data:
        module.setup()
    val, train = ([module.datasets[split][:5].images for module in data] for split in ("val", "train"))
    assert torch.equal(*val)
    assert not torch.equal(*train)


def test_fixed_scenes_are_shuffled_anew_each_epoch() -> None:
    loaders = [IdLoader("train", 4, 20, rank, 2, finite=False, shuffle_seed=3) for rank in range(2)]
    epochs = []
    for _ in range(4):  # of 16 scenes: those that do not fill a batch of every rank come in the next epoch
        epochs.append([epoch_ids(loader) for loader in loaders])
    yielded = [index for epoch in epochs for part in epoch for index in part]
    assert sorted(yielded) == sorted(list(range(20)) * 3 + shuffled(loaders[0], 60, 64))
    first, second = shuffled(loaders[0], 0, 20), shuffled(loaders[0], 20, 40)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert first != list(range(20))
    other = IdLoader("train", 4, 20, 0, 1, finite=False, shuffle_seed=4)
    assert shuffled(other, 0, 20) != first


def test_fixed_training_split_yields_its_own_scenes_only() -> None:
    data = SceneDataModule(GridConfig(digits="uci", num_train_scenes=24, batch_size=8), seed=1)
    data.setup()
    loader = data.train_dataloader()
    first, second = epoch_ids(loader), epoch_ids(loader)
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    data = SceneDataModule(GridConfig(digits="uci", batch_size=8))
    data.setup()
    fresh = iter(data.train_dataloader())
    assert [int(index) for _ in range(5) for index in next(fresh).ids] == list(range(40))


def shuffled(loader: IdLoader, start: int, end: int) -> list[int]:
    assert loader.shuffle_seed is not None
    return loader._shuffle_ids(torch.arange(start, end), loader.shuffle_seed).tolist()
