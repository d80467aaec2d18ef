import torch
from hypothesis import given
from hypothesis import strategies as st

from mnist_seq import tokens

sequences = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5)


def padded(rows: list[list[int]], slots: int = 6) -> torch.Tensor:
    return torch.tensor([row + [tokens.PAD] * (slots - len(row)) for row in rows])


@given(sequences)
def test_what_is_encoded_is_decoded(rows: list[list[int]]) -> None:
    assert tokens.decode(tokens.encode(padded(rows))) == rows


@given(sequences)
def test_a_target_is_bos_digits_eos_and_padding(rows: list[list[int]]) -> None:
    for digits, target in zip(rows, tokens.encode(padded(rows)).tolist(), strict=True):
        assert target == [tokens.BOS, *digits, tokens.EOS] + [tokens.PAD] * (6 - len(digits))


def test_nothing_after_the_end_is_decoded() -> None:
    assert tokens.decode(torch.tensor([[3, 7, tokens.EOS, 5, 5]])) == [[3, 7]]


def test_the_vocabulary_names_every_token_once() -> None:
    assert tokens.VOCABULARY[tokens.PAD] == "PAD"
    assert tokens.VOCABULARY[tokens.BOS] == "BOS"
    assert tokens.VOCABULARY[tokens.EOS] == "EOS"
    assert len(set(tokens.VOCABULARY)) == len(tokens.VOCABULARY) == tokens.DIGITS + 3
