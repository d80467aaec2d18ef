import torch
from hypothesis import given
from hypothesis import strategies as st

from mnist_seq import vocabulary

sequences = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5)


def padded(rows: list[list[int]], slots: int = 6) -> torch.Tensor:
    return torch.tensor([row + [vocabulary.PAD] * (slots - len(row)) for row in rows])


@given(sequences)
def test_decode_inverts_encode(rows: list[list[int]]) -> None:
    assert vocabulary.decode(vocabulary.encode(padded(rows))) == rows


@given(sequences)
def test_encoded_digits_are_bos_digits_eos_and_padding(rows: list[list[int]]) -> None:
    for digits, target in zip(rows, vocabulary.encode(padded(rows)).tolist(), strict=True):
        assert target == [vocabulary.BOS, *digits, vocabulary.EOS] + [vocabulary.PAD] * (6 - len(digits))


def test_decode_stops_at_the_first_special_token() -> None:
    assert vocabulary.decode(torch.tensor([[3, 7, vocabulary.EOS, 5, 5]])) == [[3, 7]]


def test_the_vocabulary_names_every_token_once() -> None:
    assert vocabulary.VOCABULARY[vocabulary.PAD] == "PAD"
    assert vocabulary.VOCABULARY[vocabulary.BOS] == "BOS"
    assert vocabulary.VOCABULARY[vocabulary.EOS] == "EOS"
    assert len(set(vocabulary.VOCABULARY)) == len(vocabulary.VOCABULARY) == vocabulary.NUM_DIGITS + 3
