"""Writing: the cache changes nothing, what is cut and kept, and where it ends."""

import pytest
import torch
from gpt_base import ids_of
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.errors import CourseError
from afina.gpt.generate import generate, next_token_probabilities
from afina.gpt.weights import to_gpt2

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "how", [{}, {"temperature": 0.8, "seed": 3}, {"temperature": 1.5, "top_k": 7, "top_p": 0.8, "seed": 1}]
)
def test_the_cache_changes_no_token(model, how):
    prompt = ids_of(3, 4)
    written = generate(model, prompt, 20, **how)
    assert written.shape == (3, 24) and torch.equal(written[:, :4], prompt)
    assert torch.equal(written, generate(model, prompt, 20, use_cache=False, **how))
    one_by_one = torch.cat([generate(model, row[None], 20) for row in prompt])
    assert how or torch.equal(written, one_by_one)


def test_the_cache_takes_several_tokens_at_a_time(model):
    ids, cache = ids_of(2, 24), model.new_cache()
    with torch.no_grad():
        pieces = [model(part, cache) for part in ids.split([5, 1, 11, 7], dim=1)]
        assert torch.allclose(torch.cat(pieces, 1), model(ids), atol=1e-4)


def test_greedy_is_gpt2s_generate(model):
    prompt = ids_of(2, 4)
    theirs = to_gpt2(model).generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=15,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert torch.equal(generate(model, prompt, 15), theirs)


def test_a_row_that_ended_only_repeats_its_end(model):
    free = generate(model, ids_of(4, 3), 20)
    stop = int(free[0, 6])
    written = generate(model, ids_of(4, 3), 20, stop=stop)
    for row, before in zip(written[:, 3:].tolist(), free[:, 3:].tolist(), strict=True):
        end = row.index(stop) if stop in row else len(row)
        assert row[:end] == before[:end] and set(row[end:]) <= {stop}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 3), st.integers(1, 30), st.floats(0.05, 1))
def test_what_is_cut_and_what_is_kept(seed, temperature, k, p):
    logits = torch.randn(2, 20, generator=torch.Generator().manual_seed(seed)) * 3
    plain = (logits / temperature).softmax(-1)
    assert torch.allclose(next_token_probabilities(logits, temperature), plain, atol=1e-6)
    top_k = next_token_probabilities(logits, temperature, top_k=k)
    assert ((top_k > 0).sum(-1) <= min(k, 20)).all() and torch.allclose(top_k.sum(-1), torch.ones(2))
    top_p = next_token_probabilities(logits, temperature, top_p=p)
    for row, kept in zip(plain, top_p > 0, strict=True):
        assert row[kept].sum() >= p - 1e-4  # enough
        assert row[kept].sum() - row[kept].min() < p + 1e-4  # and not one too many
        assert kept[row.argmax()] and row[kept].min() >= row[~kept].max() if (~kept).any() else True
    assert torch.equal(next_token_probabilities(logits, 0).argmax(-1), logits.argmax(-1))


def test_no_room_no_prompt_and_impossible_draws_say_so(model):
    with pytest.raises(CourseError, match="4 tokens do pedido e 21 novos passam do contexto, 24"):
        generate(model, ids_of(1, 4), 21)
    with pytest.raises(CourseError, match="um token ao menos"):
        generate(model, ids_of(1, 0), 3)
    for how in ({"temperature": -1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.2}):
        with pytest.raises(CourseError, match="não servem"):
            generate(model, ids_of(1, 4), 3, **({"temperature": 1.0} | how))
