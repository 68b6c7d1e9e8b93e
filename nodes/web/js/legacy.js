// Versions 1 and 2 of ComfyUI_IPAdapter_plus have nodes of one id with different inputs. A saved
// graph says which it means: version 1's encoder has six widgets, and an input called image_1.
import { app } from "../../../scripts/app.js"

const ENCODER = "IPAdapterEncoder"
const ENCODER_V1 = "IPAdapterEncoderV1"
const WIDGETS_V1 = 6

function isVersion1(node) {
    const widgets = node.widgets_values
    return (
        (Array.isArray(widgets) && widgets.length === WIDGETS_V1) ||
        (Array.isArray(node.inputs) && node.inputs.some((input) => input?.name === "image_1"))
    )
}

function rename(nodes) {
    if (!Array.isArray(nodes)) return
    for (const node of nodes) {
        if (node?.type !== ENCODER || !isVersion1(node)) continue
        node.type = ENCODER_V1
        if (node.properties?.["Node name for S&R"] === ENCODER) {
            node.properties["Node name for S&R"] = ENCODER_V1
        }
    }
}

app.registerExtension({
    name: "IPAdapterRegions.Legacy",
    beforeConfigureGraph(graph) {
        rename(graph?.nodes)
        for (const subgraph of graph?.definitions?.subgraphs ?? []) rename(subgraph?.nodes)
    },
})
