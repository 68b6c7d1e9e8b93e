"""The bundled workflows are what their descriptions say, on the nodes of the ComfyUI at hand."""

import pytest
from ipadapter_pack.workflows.authoring.build import FOLDER, write_all
from ipadapter_pack.workflows.authoring.graph import Graph
from ipadapter_pack.workflows.authoring.kinds import read_kinds
from ipadapter_pack.workflows.runner.graphs import bundled


def test_the_descriptions_give_the_bundled_files(client, tmp_path):
    write_all(client.object_info(), tmp_path)
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.json")]
    assert len(written) == 2 * len(bundled())
    for path in written:
        assert (tmp_path / path).read_bytes() == (FOLDER / path).read_bytes(), path


def test_a_description_names_no_input_that_a_node_has_not(client):
    graph = Graph(read_kinds(client.object_info()), "wrong", "")
    with pytest.raises(ValueError, match="EmptyLatentImage has no input length"):
        graph.add("EmptyLatentImage", width=512, length=16)
