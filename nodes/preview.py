"""Looking at masks."""

from comfy_api.latest import io, ui

from .checks import check_mask


class PreviewMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterPreviewMask",
            display_name="Preview Mask (IPAdapter)",
            category="IPAdapter Regions",
            description="Shows a mask on the node and hands it on as it is. Nothing is saved.",
            search_aliases=["show mask", "view mask", "inspect mask", "debug mask"],
            inputs=[
                io.Mask.Input(
                    "mask",
                    tooltip="The mask to look at: white is 1, where a reference acts in full; "
                    "black is 0, where it does not. Every mask of a batch is shown.",
                )
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The same mask, unchanged.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, mask) -> io.NodeOutput:
        return io.NodeOutput(mask, ui=ui.PreviewMask(check_mask(mask, "mask")))


NODES = [PreviewMask]
