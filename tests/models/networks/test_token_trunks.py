"""Networks over tokens: shapes, gradients, no influence of padding or neighbours, and what each can learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from penstock.errors import UsageError
from penstock.models.networks.catalog import names, size_of, trunk
from penstock.models.networks.embedding_bag import EmbeddingBag
from penstock.models.networks.recurrent import GRU, LSTM
from penstock.models.networks.text_conv import TextConv


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks so small are only slowed by threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


VOCABULARY = 12
TRUNKS: dict[str, Callable[..., Any]] = {
    "embedding_bag": EmbeddingBag,
    "text_conv": partial(TextConv, filters=7),
    "text_conv of even widths": partial(TextConv, filters=5, widths=[1, 2, 4]),
    "lstm": partial(LSTM, hidden=9),
    "lstm of two layers": partial(LSTM, hidden=6, layers=2, pooling="last"),
    "gru": partial(GRU, hidden=9, pooling="mean"),
    "gru, last": partial(GRU, hidden=9, pooling="last"),
}
WIDTHS = dict(zip(TRUNKS, (20, 21, 15, 18, 12, 18, 18), strict=True))
every_trunk = pytest.mark.parametrize("name", TRUNKS)


def made(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return TRUNKS[name](VOCABULARY, size=20)


def rows(*tokens: list[int], length: int = 8) -> torch.Tensor:
    return torch.tensor([row + [0] * (length - len(row)) for row in tokens])


EXAMPLES = rows([1, 2, 3, 4, 5, 6, 7, 12], [3, 3, 1], [12], [], [2, 1, 4, 1, 5])


@every_trunk
def test_a_row_becomes_so_many_features(name: str) -> None:
    trunk = made(name)
    found = trunk(EXAMPLES)
    assert trunk.features == WIDTHS[name]
    assert found.shape == (5, trunk.features)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


@every_trunk
def test_one_seed_gives_one_network(name: str) -> None:
    first, second, other = (made(name, seed).eval()(EXAMPLES) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@every_trunk
def test_gradients_reach_every_weight_but_those_of_the_padding(name: str) -> None:
    trunk = made(name).train()
    rows_of_all = torch.randint(1, VOCABULARY + 1, (64, 16))
    (trunk(rows_of_all) * torch.randn(trunk.features)).sum().backward()
    for key, weight in trunk.named_parameters():
        assert weight.grad is not None, key
        if key == "embedding.weight":
            assert (weight.grad[0] == 0).all()
            assert (weight.grad[1:].abs().sum(1) > 0).all()
        else:
            assert (weight.grad != 0).float().mean() > 0.9, key


@every_trunk
def test_neither_padding_nor_neighbours_change_a_row(name: str) -> None:
    trunk = made(name).eval()
    with torch.no_grad():
        trunk.embedding.weight[0] = 5.0  # such as weights from elsewhere may have
        together = trunk(EXAMPLES)
        for place, row in enumerate(EXAMPLES):
            short = row[: max(1, int((row != 0).sum()))][None]
            long = torch.cat([row, torch.zeros(40, dtype=torch.int64)])[None]
            for alone in (row[None], short, long):
                torch.testing.assert_close(trunk(alone)[0], together[place], rtol=1e-5, atol=1e-6)


@every_trunk
def test_a_row_without_tokens_is_zeros(name: str) -> None:
    assert (made(name).eval()(rows([])) == 0).all()


def test_the_bag_is_the_mean_of_its_embeddings() -> None:
    trunk = made("embedding_bag").eval()
    weight = trunk.embedding.weight
    expected = torch.stack([weight[[3, 3, 1]].mean(0), weight[12]])
    torch.testing.assert_close(trunk(rows([3, 3, 1], [12])), expected)


@pytest.mark.parametrize(("kind", "own"), [(nn.LSTM, LSTM), (nn.GRU, GRU)])
def test_states_are_those_of_torch_over_packed_sequences(kind: Any, own: Any) -> None:
    torch.manual_seed(1)
    trunk = own(VOCABULARY, size=6, hidden=5, pooling="mean").eval()
    torchs = kind(6, 5, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for key, weight in torchs.named_parameters():
            side = trunk.backwards[0] if key.endswith("_reverse") else trunk.forwards[0]
            weight.copy_(dict(side.named_parameters())[key.removesuffix("_reverse")])
        given = rows([1, 2, 3, 4], [5, 6], [7])
        lengths = (given != 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(
            trunk.embedding(given), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(torchs(packed)[0], batch_first=True)
        torch.testing.assert_close(trunk(given), states.sum(1) / lengths[:, None])


def learned(trunk: Any, tokens: torch.Tensor, answers: torch.Tensor, steps: int = 45, rate: float = 0.02) -> float:
    """The share of right answers after training on all rows at once."""
    torch.manual_seed(0)
    head = nn.Linear(trunk.features, 1)
    optimizer = torch.optim.Adam([*trunk.parameters(), *head.parameters()], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(head(trunk(tokens))[:, 0], answers.float()).backward()
        optimizer.step()
    with torch.no_grad():
        right: torch.Tensor = (head(trunk.eval()(tokens))[:, 0] > 0) == answers
    return float(right.float().mean())


@every_trunk
def test_whether_a_token_is_there_is_learned(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, VOCABULARY, (120, 8), generator=generator)
    answers = torch.arange(120) % 2 == 0
    tokens[answers, torch.randint(0, 8, (60,), generator=generator)] = VOCABULARY
    trunk = made(name)
    assert learned(trunk, tokens, answers, rate=0.05 if name == "embedding_bag" else 0.02) > 0.99


@every_trunk
def test_which_of_two_tokens_comes_first_is_learned(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, VOCABULARY, (120, 8), generator=generator)
    answers = torch.arange(120) % 2 == 0
    place = torch.randint(0, 7, (120,), generator=generator)
    row = torch.arange(120)
    tokens[row, place] = torch.where(answers, 1, 2)
    tokens[row, place + 1] = torch.where(answers, 2, 1)
    right = learned(made(name), tokens, answers)
    # A bag knows no order: that it fails shows that the others' success is one.
    assert right < 0.8 if name == "embedding_bag" else right > 0.95


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("embedding_bag", {"size": 0}),
        ("embedding_bag", {"dropout": 1}),
        ("text_conv", {"widths": []}),
        ("text_conv", {"widths": 3}),
        ("text_conv", {"widths": [3, 0]}),
        ("text_conv", {"filters": 1.5}),
        ("lstm", {"layers": 0}),
        ("lstm", {"pooling": "sum"}),
        ("gru", {"hidden": -1}),
        ("gru", {"pooling": ["max"]}),
    ],
)
def test_settings_out_of_their_range_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"network '{name}': {next(iter(settings))}"):
        trunk(name, "tokens", VOCABULARY, settings=settings)


@pytest.mark.parametrize("name", names("tokens"))
def test_the_catalog_knows_what_each_holds_for_a_row(name: str) -> None:
    made = trunk(name, "tokens", VOCABULARY)
    assert size_of(name, "tokens", [VOCABULARY], {}).weights == sum(each.numel() for each in made.parameters())
