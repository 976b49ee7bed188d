"""The model as an ONNX graph for ONNX Runtime and everything else that reads opset 23.

The graph is built node by node, as `Transformer` computes, and not traced from it: so the file has
the same bytes wherever it is written, and nodes and weights are named after their layers. The same
graph reads a prompt and continues it: keys and values of earlier characters are inputs, those of
all characters are outputs. Inputs and outputs have the names by which Optimum and transformers.js
fill them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tinyllm.base.files import write_bytes
from tinyllm.formats.onnx_model import FORMAT
from tinyllm.formats.turns import split_turns
from tinyllm.model.transformer import Transformer, rotary_frequencies

# the first opset with attention and RMSNorm, and its file version
_OPSET, _IR_VERSION = 23, 11
_PAST, _PRESENT = "past_key_values.{}.{}", "present.{}.{}"
_PARTS = ("key", "value")
# transformers.js makes an empty cache by these names of its dimensions
_BATCH, _TIME, _PAST_LENGTH = "batch_size", "sequence_length", "past_sequence_length"
_TOTAL = f"{_PAST_LENGTH} + {_TIME}"


def write_onnx(model: Transformer, path: Path, bits: int = 32) -> None:
    """Write the graph.

    Args:
        model: the model.
        path: the file to write.
        bits: of each weight of the linear layers: 32, or 8, with a scale for each output.
    """
    graph = _GraphBuilder(model, bits).build()
    write_bytes(path, graph.SerializeToString(deterministic=True))


class _GraphBuilder:
    """Adds the layers of a `Transformer` to a graph; a value is named after what computes it.

    Methods that add nodes take the names of values and return the name of the result.
    """

    def __init__(self, model: Transformer, bits: int) -> None:
        self._bits = bits
        self._config = model.config
        self._vocab_size = model.vocab_size
        self._weights = {
            name: tensor.detach().cpu().float().numpy()
            for name, tensor in model.state_dict().items()
        }
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def build(self) -> ModelProto:
        """The whole model."""
        self._shared_constants()
        x = self._node("Gather", ["embedding.weight", "input_ids"], "embedding")
        self._mask()
        self._rotary_tables()
        for layer in range(self._config.num_layers):
            x = self._block(f"blocks.{layer}", layer, x)
        self._linear("lm_head", self._norm("norm", x), "logits")
        graph = helper.make_graph(
            self._nodes, "tinyllm", self._inputs(), self._outputs(), self._constants
        )
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="tinyllm"
        )
        facts = {"format": FORMAT, "sequence_length": str(self._config.sequence_length)}
        helper.set_model_props(model, facts)
        return model

    def _shared_constants(self) -> None:
        config = self._config
        embedding = self._weights["embedding.weight"]
        self._weights.setdefault("lm_head.weight", embedding)
        self._constant("embedding.weight", embedding)
        self._constant("0", np.int64(0))
        self._constant("1", np.int64(1))
        for axes in ([0], [1], [2], [1, 2], [2, 3]):
            self._constant(str(axes), np.array(axes))
        # in `Reshape` 0 keeps a dimension: batch and time
        self._constant("shape.heads", np.array([0, 0, config.num_heads, config.head_dim]))
        self._constant("shape.joined", np.array([0, 0, config.d_model]))

    def _mask(self) -> None:
        """[batch, 1, time, past + time]: zero where a character may attend, very low elsewhere.

        It attends to the last `sequence_length` characters, itself included, without padding. The
        number is finite, since padding itself may attend to nothing, and would become NaN.
        """
        past = self._node("Shape", [_PAST.format(0, "key")], "mask.past", start=2, end=3)
        time = self._node("Shape", ["input_ids"], "mask.time", start=1, end=2)
        total = self._node("Add", [past, time], "mask.total")
        first = self._node("Squeeze", [past, "[0]"], "mask.first")
        end = self._node("Squeeze", [total, "[0]"], "mask.end")
        keys = self._node("Range", ["0", end, "1"], "mask.keys")
        queries = self._node("Range", [first, end, "1"], "mask.queries")
        queries = self._node("Unsqueeze", [queries, "[1]"], "mask.queries.column")
        distance = self._node("Sub", [queries, keys], "mask.distance")
        window = self._constant("mask.window", np.int64(self._config.sequence_length))
        causal = self._node("GreaterOrEqual", [distance, "0"], "mask.causal")
        near = self._node("Less", [distance, window], "mask.near")
        seen = self._node("And", [causal, near], "mask.seen")
        given = self._node("Cast", ["attention_mask"], "mask.given", to=TensorProto.BOOL)
        given = self._node("Unsqueeze", [given, "[1, 2]"], "mask.given.row")
        seen = self._node("And", [given, seen], "mask.attended")
        zero = self._constant("mask.zero", np.float32(0))
        hidden = self._constant("mask.hidden", np.finfo(np.float32).min)
        self._node("Where", [seen, zero, hidden], "mask")

    def _rotary_tables(self) -> None:
        """Cosines and sines of the positions, each [batch, time, head_dim / 2].

        In turns, of which only the fraction counts, and from parts of which the products are exact.
        """
        rates = rotary_frequencies(self._config.head_dim, self._config.rope_theta)
        masks, parts = split_turns(rates)
        positions = self._node("Unsqueeze", ["position_ids", "[2, 3]"], "rotary.positions")
        halves = self._constant("rotary.masks", masks[:, None])
        positions = self._node("BitwiseAnd", [positions, halves], "rotary.positions.halves")
        positions = self._node("Cast", [positions], "rotary.positions.float", to=TensorProto.FLOAT)
        each = self._constant("rotary.parts", parts)
        turns = self._node("Mul", [positions, each], "rotary.turns")
        whole = self._constant("rotary.whole", np.float32(1))
        turns = self._node("Mod", [turns, whole], "rotary.fractions", fmod=1)
        turns = self._node("ReduceSum", [turns, "[2]"], "rotary.fraction", keepdims=0)
        circle = self._constant("rotary.circle", np.float32(2 * np.pi))
        angles = self._node("Mul", [turns, circle], "rotary.angles")
        self._node("Cos", [angles], "rotary.cosines")
        self._node("Sin", [angles], "rotary.sines")

    def _block(self, name: str, layer: int, x: str) -> str:
        mixed = self._attention(f"{name}.attention", layer, self._norm(f"{name}.attention_norm", x))
        x = self._node("Add", [x, mixed], f"{name}.attention.sum")
        fed = self._feed_forward(f"{name}.feed_forward", self._norm(f"{name}.feed_forward_norm", x))
        return self._node("Add", [x, fed], f"{name}.feed_forward.sum")

    def _attention(self, name: str, layer: int, x: str) -> str:
        qkv = self._linear(f"{name}.qkv_proj", x)
        queries, keys, values = self._split(qkv, [f"{name}.{part}" for part in "qkv"])
        inputs = [
            self._rotate(f"{name}.q_norm", queries),
            self._rotate(f"{name}.k_norm", keys),
            values,
            "mask",
            *[_PAST.format(layer, part) for part in _PARTS],
        ]
        outputs = [f"{name}.mixed", *[_PRESENT.format(layer, part) for part in _PARTS]]
        heads = self._config.num_heads
        self._add("Attention", inputs, outputs, q_num_heads=heads, kv_num_heads=heads)
        return self._linear(f"{name}.o_proj", outputs[0])

    def _rotate(self, norm: str, x: str) -> str:
        """Normalize each head and rotate it by its position: [batch, time, d_model], the same."""
        heads = self._norm(norm, self._node("Reshape", [x, "shape.heads"], f"{norm}.heads"))
        joined = self._node("Reshape", [heads, "shape.joined"], f"{norm}.joined")
        inputs = [joined, "rotary.cosines", "rotary.sines"]
        return self._node(
            "RotaryEmbedding", inputs, f"{norm}.rotated", num_heads=self._config.num_heads
        )

    def _feed_forward(self, name: str, x: str) -> str:
        both = self._linear(f"{name}.gate_up_proj", x)
        gate, up = self._split(both, [f"{name}.gate", f"{name}.up"])
        sigmoid = self._node("Sigmoid", [gate], f"{name}.sigmoid")
        silu = self._node("Mul", [gate, sigmoid], f"{name}.silu")
        return self._linear(f"{name}.down_proj", self._node("Mul", [silu, up], f"{name}.swiglu"))

    def _norm(self, name: str, x: str) -> str:
        weight = self._constant(f"{name}.weight", self._weights[f"{name}.weight"])
        epsilon = self._config.norm_eps
        return self._node("RMSNormalization", [x, weight], name, axis=-1, epsilon=epsilon)

    def _linear(self, name: str, x: str, output: str = "") -> str:
        # transposed in the file, to save that at run time
        weight = self._matrix(f"{name}.weight", self._weights[f"{name}.weight"].T)
        return self._node("MatMul", [x, weight], output or name)

    def _matrix(self, name: str, weight: NDArray[np.float32]) -> str:
        """[inputs, outputs], of the bits wanted."""
        if self._bits == 32:
            return self._constant(name, weight)
        largest = np.abs(weight).max(axis=0)
        # an output without any weight
        scales = np.where(largest > 0, largest, np.float32(1)) / np.float32(127)
        whole = self._constant(f"{name}.int8", np.rint(weight / scales).astype(np.int8))
        each = self._constant(f"{name}.scales", scales)
        return self._node("DequantizeLinear", [whole, each], name, axis=1)

    def _split(self, x: str, parts: list[str]) -> list[str]:
        self._add("Split", [x], parts, axis=-1, num_outputs=len(parts))
        return parts

    def _constant(self, name: str, values: ArrayLike) -> str:
        self._constants.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._add(operator, inputs, [output], **attributes)
        return output

    def _add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self._nodes.append(
            helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes)
        )

    def _inputs(self) -> list[ValueInfoProto]:
        shapes = {
            "input_ids": [_BATCH, _TIME],
            "attention_mask": [_BATCH, _TOTAL],
            "position_ids": [_BATCH, _TIME],
        }
        tokens = [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name, shape in shapes.items()
        ]
        return tokens + self._cache(_PAST, _PAST_LENGTH)

    def _outputs(self) -> list[ValueInfoProto]:
        shape: list[str | int] = [_BATCH, _TIME, self._vocab_size]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
        return [logits, *self._cache(_PRESENT, _TOTAL)]

    def _cache(self, name: str, length: str) -> list[ValueInfoProto]:
        """Keys and values of each layer: [batch, heads, length, head_dim]."""
        shape: list[str | int] = [_BATCH, self._config.num_heads, length, self._config.head_dim]
        return [
            helper.make_tensor_value_info(name.format(layer, part), TensorProto.FLOAT, shape)
            for layer in range(self._config.num_layers)
            for part in _PARTS
        ]
