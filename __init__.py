"""IPAdapter Regions: image prompts that act only where their mask is white."""

WEB_DIRECTORY = "./nodes/web"


async def comfy_entrypoint():
    # Imported here, not above: pytest imports this file by itself, outside any package.
    from .nodes.extension import IPAdapterRegions

    return IPAdapterRegions()
