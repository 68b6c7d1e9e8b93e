"""A real ComfyUI in this process, for what other packs do beside this one."""

from ipadapter_pack.tests.in_process import inference_mode  # noqa: F401
