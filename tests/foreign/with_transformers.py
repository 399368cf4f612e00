"""What transformers computes: its masks, gpt-oss' attention with sinks, and the layers of Longformer and BigBird."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from .cases import MASKS, SCORED
from .layers import BIGBIRDS, LONGFORMERS
from .with_torch import tensors

__all__ = ["PLANS", "compute", "plan_name"]

PLANS = [  # n, block, random blocks, heads, seed
    (4096, 64, 3, 12, 0),  # the paper's plan: 1024 and 3072 tokens use its first rows
    (4096, 32, 2, 3, 11),
    (2048, 64, 3, 12, 0),  # the generic plan here; the paper's in google-research/bigbird
    (640, 16, 20, 2, 4),  # two segments, both with draws
]


def compute():
    """Masks of masking_utils; Longformer and BigBird layers, weights and inputs from the case."""
    values = {}
    for function, arguments, n, _ in MASKS:
        values[f"masks/{function}"] = masking(function, arguments, n)
    for case in SCORED:
        if case.sinks is not None:
            values[f"sinks/{case.name}/o"] = with_sinks(case)
    for case in LONGFORMERS:
        values[f"longformer/{case.name}/o"] = longformer(case)
    for case in BIGBIRDS:
        o, plan, tiles = bigbird(case)
        values[f"bigbird/{case.name}/o"] = o[:, case.rows]
        values[f"bigbird/{case.name}/plan"], values[f"bigbird/{case.name}/tiles"] = plan, tiles
    for settings in PLANS:
        values[plan_name(settings)] = published_plan(*settings)
    return values


def masking(function, arguments, n):
    import torch
    from transformers import masking_utils

    arguments = [torch.tensor(x) if isinstance(x, list) else x for x in arguments]
    i = torch.arange(n)
    return getattr(masking_utils, function)(*arguments)(0, 0, i[:, None], i[None, :]).numpy()


def with_sinks(scored):
    import torch
    from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

    heads, kv, _, _, d, _ = scored.case.shape
    sinks = torch.tensor(scored.sinks, dtype=torch.float64)
    module = SimpleNamespace(sinks=sinks, num_key_value_groups=heads // kv, training=False)
    mask = torch.from_numpy(np.where(scored.case.mask, 0, -np.inf))[None]
    scale = d**-0.5 if scored.scale is None else scored.scale
    o, _ = eager_attention_forward(module, *tensors(scored.case, "float64"), mask, scaling=scale)
    return o[0].numpy().swapaxes(0, 1)


def double(layer, case):
    """The layer in float64 with the case's weights; `seen[name]` is what each of its linear maps returns."""
    import torch

    layer, seen = layer.double(), {}
    for name, (w, b) in case.weights.items():
        linear = getattr(layer, name)
        linear.weight.data, linear.bias.data = torch.from_numpy(w), torch.from_numpy(b)
        # a copy: Longformer divides the queries in place by sqrt(d) afterwards
        linear.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.detach().numpy().copy()))
    return layer, seen


def check_projections(case, seen):
    """The layer's own q, k, v are, bit for bit, those of the case: integers over 2^14, no rounding anywhere."""
    for name, ours in zip(case.maps, case.inputs, strict=True):
        if name in seen:
            rows = list(case.tokens) if name == "query_global" else slice(None)  # Longformer asks for global queries only
            ours = ours[:, rows].swapaxes(0, 1)
            assert np.array_equal(seen[name].reshape(ours.shape), ours), f"{case.name}: {name} is projected differently"


def longformer(case):
    import torch
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    config = LongformerConfig(
        hidden_size=case.hidden, num_attention_heads=case.heads, num_hidden_layers=1, attention_window=[case.window]
    )
    layer, seen = double(LongformerSelfAttention(config, layer_id=0).eval(), case)
    is_global = torch.from_numpy(np.isin(np.arange(case.n), case.tokens))[None]
    with torch.no_grad():
        (o,) = layer(
            torch.from_numpy(case.hidden_states)[None],
            attention_mask=10000.0 * is_global.double(),  # the model's encoding: < 0 padding, 0 local, > 0 global
            is_index_masked=torch.zeros_like(is_global),
            is_index_global_attn=is_global,
            is_global_attn=bool(is_global.any()),
        )
    check_projections(case, seen)
    return o.numpy().reshape(case.n, case.heads, -1).swapaxes(0, 1)


def bigbird_layer(random_blocks, block, heads, hidden, seed):
    from transformers import BigBirdConfig
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention

    config = BigBirdConfig(
        hidden_size=hidden,
        num_attention_heads=heads,
        block_size=block,
        num_random_blocks=random_blocks,
        attention_probs_dropout_prob=0.0,
        use_bias=True,
    )
    return BigBirdBlockSparseAttention(config, seed=seed).train()  # in eval mode every random block is block 0


@contextmanager
def numpy_stream():
    """transformers reseeds NumPy's global generator to draw the random blocks: put it back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def bigbird(case):
    """Output, the plan as the layer used it, and which blocks got weight: where any entry of a block did, all of them did."""
    import torch
    from transformers import BigBirdModel

    layer, seen = double(bigbird_layer(case.random_blocks, case.block, case.heads, case.hidden, case.seed), case)
    plans, make_mask = [], layer._create_rand_mask_from_inputs
    layer._create_rand_mask_from_inputs = lambda *given: plans.append(given[2]) or make_mask(*given)
    ones = torch.ones(1, case.n, dtype=torch.float64)
    blocked, band, rows, columns = BigBirdModel.create_masks_for_block_sparse_attn(ones, case.block)
    with torch.no_grad(), numpy_stream():
        o, probabilities = layer(
            torch.from_numpy(case.hidden_states)[None],
            band_mask=band,
            from_mask=rows,
            to_mask=columns,
            from_blocked_mask=blocked,
            to_blocked_mask=blocked,
            output_attentions=True,
        )[:2]
    check_projections(case, seen)
    blocks = case.n // case.block
    weighed = probabilities[0].numpy().reshape(case.heads, blocks, case.block, blocks, case.block) > 0
    tiles = weighed.any((2, 4))
    assert np.array_equal(tiles, weighed.all((2, 4)))
    return o[0].numpy().reshape(case.n, case.heads, -1).swapaxes(0, 1), plans[0][0].numpy().astype(np.int16), tiles


def plan_name(settings):
    return "bigbird plan/" + " ".join(map(str, settings))


def published_plan(n, block, random_blocks, heads, seed):
    """The draws of all heads of a layer, as its forward makes them."""
    layer = bigbird_layer(random_blocks, block, heads, hidden=heads, seed=seed)
    with numpy_stream():
        np.random.seed(seed)  # noqa: NPY002, the stream of the library
        if n in (1024, 3072, 4096):
            plan = [layer._bigbird_block_rand_mask(4096, 4096, block, block, random_blocks, last_idx=1024) for _ in range(heads)]
            plan = [rows[: n // block - 2] for rows in plan]
        else:
            segments = layer._get_rand_attn_plan(n, block, random_blocks)
            plan = layer._bigbird_block_rand_mask_with_head(n, n, block, block, heads, *segments)
    return np.array(plan, np.int16)
