"""What is read of an untrusted ONNX file, against the onnx package, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from excite.bundle.onnx_file import OnnxFacts, read_onnx_facts
from excite.errors import ExciteError
from tests.bundle.files import make_model, onnx


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=4), st.integers(1, 30))
def test_metadata_and_opset_are_those_that_the_onnx_package_wrote(
    metadata: dict[str, str], opset: int
) -> None:
    model = make_model(opset)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    facts = read_onnx_facts(model.SerializeToString(), where="x.onnx")
    assert facts.opset == opset
    assert facts.metadata == metadata


def read(content: bytes) -> OnnxFacts | str:
    """The facts, or the message of the error."""
    try:
        return read_onnx_facts(content, where="x.onnx")
    except ExciteError as error:
        return str(error)


def test_every_truncation_is_one_error_or_lacks_the_metadata() -> None:
    """It lacks the metadata if it ends between two fields, where the rest still is a protocol buffer."""
    model = make_model()
    model.metadata_props.add(key="excite", value="{}")
    content = model.SerializeToString()
    assert isinstance(read(content), OnnxFacts)
    for length in range(len(content)):
        found = read(content[:length])
        truncated = "x.onnx: is not an ONNX file, or is truncated"
        assert found == truncated or (isinstance(found, OnnxFacts) and found.metadata == {})


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes) -> None:
    assert "\n" not in str(read(content))


def external(name: str) -> Any:
    tensor = onnx.numpy_helper.from_array(np.zeros(4, dtype=np.float32), "weights")
    onnx.external_data_helper.set_external_data(tensor, name)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    return tensor


@pytest.mark.parametrize("name", ["weights.bin", "../../etc/passwd", "/etc/passwd"])
@pytest.mark.parametrize("place", ["initializer", "attribute", "branch", "sparse"])
def test_tensors_in_other_files_are_refused_wherever_they_are(name: str, place: str) -> None:
    helper, tensor = onnx.helper, external(name)
    if place == "initializer":
        model = make_model()
        model.graph.initializer.append(tensor)
    elif place == "attribute":
        model = make_model(extra_nodes=(helper.make_node("Constant", [], ["w"], value=tensor),))
    elif place == "branch":
        inner = helper.make_graph([], "inner", [], [], [tensor])
        model = make_model(
            extra_nodes=(helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner),)
        )
    else:
        model = make_model()
        sparse = onnx.SparseTensorProto()
        sparse.values.CopyFrom(tensor)
        model.graph.sparse_initializer.append(sparse)
    with pytest.raises(ExciteError, match=r"x\.onnx: is refused: its weights are in another file"):
        read_onnx_facts(model.SerializeToString(), where="x.onnx")


def test_a_path_without_the_external_flag_is_refused_too() -> None:
    tensor = external("a.bin")
    tensor.data_location = onnx.TensorProto.DEFAULT
    model = make_model()
    model.graph.initializer.append(tensor)
    with pytest.raises(ExciteError, match="weights are in another file"):
        read_onnx_facts(model.SerializeToString(), where="x.onnx")


def test_functions_training_graphs_and_foreign_operators_are_refused() -> None:
    model = make_model()
    model.functions.add(name="f", domain="d")
    with pytest.raises(ExciteError, match="contains functions"):
        read_onnx_facts(model.SerializeToString(), where="x.onnx")
    model = make_model()
    model.training_info.add()
    with pytest.raises(ExciteError, match="contains a training graph"):
        read_onnx_facts(model.SerializeToString(), where="x.onnx")
    node = onnx.helper.make_node("EPContext", ["pixels"], ["x"], domain="com.microsoft")
    with pytest.raises(ExciteError, match=r"uses operators of 'com\.microsoft'"):
        read_onnx_facts(make_model(extra_nodes=(node,)).SerializeToString(), where="x.onnx")


def test_graphs_within_graphs_have_a_limit() -> None:
    inner = onnx.helper.make_graph([], "inner", [], [])
    for _ in range(14):
        node = onnx.helper.make_node("If", ["c"], ["w"], then_branch=inner)
        inner = onnx.helper.make_graph([node], "inner", [], [])
    model = make_model(extra_nodes=(onnx.helper.make_node("If", ["c"], ["w"], then_branch=inner),))
    with pytest.raises(ExciteError, match="nested too deeply"):
        read_onnx_facts(model.SerializeToString(), where="x.onnx")
