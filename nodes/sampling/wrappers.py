"""The places of a sampling run at which references come in.

A run starts in OUTER_SAMPLE. Each step's CALC_COND_BATCH notes which conditionings are positive and
which rectangle each covers, and has each UNet call noted as it is before another node may cut it
up; APPLY_MODEL hands the layers their keys, values and masks, ready to multiply.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from torch import Tensor

from .conds import chunks_of_call
from .pieces import WholeCall
from .run import Run
from .types import (
    BATCH_KEY,
    KEY,
    RECORDING_KEY,
    RUN_KEY,
    WHOLE_KEY,
    Acting,
    RunRecorder,
)


def record_in(guider: Any, recording: RunRecorder) -> None:
    """Have the run that a guider is about to start recorded."""
    guider.model_options["transformer_options"][RECORDING_KEY] = recording  # this run's own copy


def wrappers(acting: Acting) -> dict[str, Callable[..., Any]]:
    """The three wrappers of a model in which these regions act."""

    def outer_sample(executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        run = Run(acting, guider, (noise.shape[-2], noise.shape[-1]))
        run.warn_about_sizes(noise)
        guider.model_options["transformer_options"][RUN_KEY] = run  # this run's own copy
        return executor(noise, *args, **kwargs)

    def calc_cond_batch(
        executor: Any, model: Any, conds: Any, x_in: Tensor, timestep: Any, model_options: Any
    ) -> Any:
        options = model_options.get("transformer_options", {})
        run: Run | None = options.get(RUN_KEY)
        if run is not None:
            model_options = {
                **model_options,
                "transformer_options": {**options, BATCH_KEY: run.cond_batch(conds, x_in)},
                "model_function_wrapper": whole_calls(model_options.get("model_function_wrapper")),
            }
        return executor(model, conds, x_in, timestep, model_options)

    def apply_model(  # noqa: PLR0913
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        options = transformer_options or {}
        run: Run | None = options.get(RUN_KEY)
        dtype = executor.class_obj.get_dtype_inference()
        inputs = run and run.inputs(x, t, c_crossattn, options, dtype)
        if run and inputs:
            inputs.over_time = "num_video_frames" in kwargs
            recording: RunRecorder | None = options.get(RECORDING_KEY)
            if recording is not None:
                inputs.recorder = recording.record_call(inputs.call, inputs.frames)
            options = {**options, KEY: inputs}
            # torch.compile guards on the names of a UNet's arguments, not on these options.
            if take_keywords(options):
                kwargs[f"{KEY}_{inputs.structure}"] = True
            elif is_compiled(executor.class_obj.diffusion_model, options):
                run.warn_once(NO_KEYWORDS)
        out = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        if run and inputs and run.layers_unchecked:  # the first call says enough
            run.layers_unchecked = False
            if not is_compiled(executor.class_obj.diffusion_model, options):
                run.warn_about_layers(inputs.asked)
        return out

    return {
        WrappersMP.OUTER_SAMPLE: outer_sample,
        WrappersMP.CALC_COND_BATCH: calc_cond_batch,
        WrappersMP.APPLY_MODEL: apply_model,
    }


NO_KEYWORDS = (
    "another node's wrapper accepts no extra arguments (**kwargs), so a compiled model may keep "
    "using old references after you change them: remove that node or the compilation"
)


def take_keywords(options: Mapping[str, Any]) -> bool:
    """Whether every wrapper around the UNet lets arguments through that ComfyUI does not have."""
    wrappers = options.get("wrappers", {})
    return all(
        any(p.kind is p.VAR_KEYWORD for p in inspect.signature(wrapper).parameters.values())
        for kind in (WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL)
        for some in wrappers.get(kind, {}).values()
        for wrapper in some
    )


def is_compiled(unet: Any, options: Mapping[str, Any]) -> bool:
    """Whether any of the UNet is compiled: compiled layers do not say that they were called."""
    if COMPILE_KEY in options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {}):
        return True
    return any(type(module).__name__ == "OptimizedModule" for module in unet.modules())


def whole_calls(inner: Callable[..., Any] | None) -> Callable[..., Any]:
    """A unet function wrapper that notes each call before another one may cut it up."""

    def unet_function(apply_model: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        c = arguments["c"]
        options = c["transformer_options"]
        chunks = chunks_of_call(options)
        indices = tuple(arguments["cond_or_uncond"])
        whole = WholeCall(arguments["input"], c.get("c_crossattn"), chunks, indices)
        c = {**c, "transformer_options": {**options, WHOLE_KEY: whole}}
        if inner is None:
            return apply_model(arguments["input"], arguments["timestep"], **c)
        return inner(apply_model, {**arguments, "c": c})

    return unet_function
