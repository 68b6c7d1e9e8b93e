"""Tiny models that ComfyUI's own loaders accept: right shapes, random weights, made in seconds.

They show where a reference acts and that every step runs; they know nothing about pictures.
"""

from __future__ import annotations

from pathlib import Path

from .layers import Random, Tensors, norm, save, zeros
from .unet import TEXT, WIDTH, autoencoder, unet

VISION = 1024  # CLIP ViT-L, the smallest that ComfyUI knows
EMBEDS = 768
LAYERS = 16  # cross-attentions of SD1.5
FACE = 512  # numbers in which a face recognizer says who it sees
RANK = 4


def checkpoint(path: Path) -> Path:
    """SD1.5 in all its blocks and 16 cross-attentions, the tiny autoencoder, CLIP-L."""
    random = Random(1)
    return save(path, [*unet(random), *autoencoder(random), *text_encoder(random)])


def clip_vision(path: Path) -> Path:
    """CLIP ViT-L whose first layer looks at the picture; the other 23 pass on what it saw."""
    return save(path, vision_encoder(Random(2)))


def adapter(path: Path, kind: str = "base") -> Path:
    """An IP-Adapter for `checkpoint` and `clip_vision`, of one of PROJECTIONS."""
    random = Random(3)
    layers = [*PROJECTIONS[kind](random), *key_value_projections(random)]
    return save(path, [*layers, *(face_lora(random) if kind in WITH_LORA else ())])


def text_encoder(random: Random) -> Tensors:
    """CLIP-L with random tokens and idle layers: prompts differ by their words."""
    prefix = "cond_stage_model.transformer.text_model"
    tokens = random.normal(49408, TEXT)
    yield f"{prefix}.embeddings.token_embedding.weight", (49408, TEXT), tokens
    yield f"{prefix}.embeddings.position_embedding.weight", (77, TEXT), None
    for layer in range(12):
        yield from idle_clip_layer(f"{prefix}.encoder.layers.{layer}", TEXT)
    yield from norm(f"{prefix}.final_layer_norm", TEXT)


def vision_encoder(random: Random) -> Tensors:
    embeddings, looking = "vision_model.embeddings", "vision_model.encoder.layers.0"
    patches = random.normal(VISION, 3, 14, 14, std=0.04)
    positions = random.normal(257, VISION, std=0.1)
    yield f"{embeddings}.class_embedding", (VISION,), random.normal(VISION, std=0.1)
    yield f"{embeddings}.patch_embedding.weight", (VISION, 3, 14, 14), patches
    yield f"{embeddings}.position_embedding.weight", (257, VISION), positions
    yield from norm("vision_model.pre_layrnorm", VISION)
    for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from random.linear(f"{looking}.self_attn.{projection}", VISION, VISION, gain=2.0)
    yield from norms_and_idle_mlp(looking, VISION)
    for layer in range(1, 24):
        yield from idle_clip_layer(f"vision_model.encoder.layers.{layer}", VISION)
    yield from norm("vision_model.post_layernorm", VISION)
    yield from random.linear("visual_projection", EMBEDS, VISION, bias=False)


def idle_clip_layer(name: str, width: int) -> Tensors:
    for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from zeros(f"{name}.self_attn.{projection}", width, width)
    yield from norms_and_idle_mlp(name, width)


def norms_and_idle_mlp(name: str, width: int) -> Tensors:
    yield from norm(f"{name}.layer_norm1", width)
    yield from norm(f"{name}.layer_norm2", width)
    yield from zeros(f"{name}.mlp.fc1", 4 * width, width)
    yield from zeros(f"{name}.mlp.fc2", width, 4 * width)


def image_projection(random: Random) -> Tensors:
    yield from random.linear("image_proj.proj", 4 * TEXT, EMBEDS)
    yield from norm("image_proj.norm", TEXT)


def resampler(random: Random) -> Tensors:
    """The Plus family's Perceiver."""
    yield "image_proj.latents", (1, 16, TEXT), random.normal(1, 16, TEXT)
    yield from perceiver(random, "image_proj")


def perceiver(random: Random, name: str) -> Tensors:
    """Two of its four layers."""
    yield from random.linear(f"{name}.proj_in", TEXT, VISION)
    for depth in range(2):
        attention, feed_forward = (f"{name}.layers.{depth}.{part}" for part in (0, 1))
        yield from norm(f"{attention}.norm1", TEXT)
        yield from norm(f"{attention}.norm2", TEXT)
        yield from random.linear(f"{attention}.to_q", TEXT, TEXT, bias=False)
        yield from random.linear(f"{attention}.to_kv", 2 * TEXT, TEXT, bias=False)
        yield from random.linear(f"{attention}.to_out", TEXT, TEXT, gain=3.0, bias=False)
        yield from norm(f"{feed_forward}.0", TEXT)
        yield from random.linear(f"{feed_forward}.1", 4 * TEXT, TEXT, bias=False)
        yield from random.linear(f"{feed_forward}.3", TEXT, 4 * TEXT, bias=False)
    yield from random.linear(f"{name}.proj_out", TEXT, TEXT)
    yield from norm(f"{name}.norm_out", TEXT)


def faceid(random: Random, tokens: int = 4) -> Tensors:
    yield from random.linear("image_proj.proj.0", 64, FACE, gain=FACE**0.5)  # its input's norm is 1
    yield from random.linear("image_proj.proj.2", tokens * TEXT, 64)
    yield from norm("image_proj.norm", TEXT)


def faceid_plus(random: Random) -> Tensors:
    yield from faceid(random)
    yield from perceiver(random, "image_proj.perceiver_resampler")


def portrait(random: Random) -> Tensors:
    yield from faceid(random, tokens=16)


def key_value_projections(random: Random) -> Tensors:
    """One pair for each cross-attention: input blocks, output blocks, middle block."""
    for layer in range(LAYERS):
        name = f"ip_adapter.{2 * layer + 1}"
        yield from random.linear(f"{name}.to_k_ip", WIDTH, TEXT, bias=False)
        yield from random.linear(f"{name}.to_v_ip", WIDTH, TEXT, gain=10.0, bias=False)


def face_lora(random: Random) -> Tensors:
    """For the self- and cross-attention of every layer in turn."""
    for number in range(2 * LAYERS):
        source = TEXT if number % 2 else WIDTH
        for part, into in (("q", WIDTH), ("k", source), ("v", source), ("out", WIDTH)):
            name = f"ip_adapter.{number}.to_{part}_lora"
            yield from random.linear(f"{name}.down", RANK, into, bias=False)
            yield from random.linear(f"{name}.up", WIDTH, RANK, gain=0.3, bias=False)


PROJECTIONS = {
    "base": image_projection,
    "plus": resampler,
    "faceid": faceid,
    "faceid-plus": faceid_plus,
    "portrait": portrait,
}
WITH_LORA = {"faceid", "faceid-plus"}
