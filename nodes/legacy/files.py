"""The files of this folder whose nodes ComfyUI loads."""

from . import (
    apply,
    embeds,
    embeds_v1,
    enhancer,
    faces,
    images,
    loaders,
    params,
    styles,
    tiled,
    weights,
)

FILES = [
    *(loaders, apply, faces, styles),
    *(tiled, enhancer, embeds, embeds_v1),
    *(params, weights, images),
]
