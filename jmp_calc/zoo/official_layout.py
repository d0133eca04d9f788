"""Names and shapes of the tensors in official checkpoints (``checkpoint_format.md`` section 3).

``backbone_layout`` lists every key of a backbone in file order from its sizes; ``infer_backbone`` reads the
sizes from the shapes. Nothing here touches a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..errors import ModelError
from ..model.config import BackboneConfig

Shape = tuple[int, ...]

TASKS = ("oc20", "oc22", "ani1x", "transition1x")
RADIAL_BASES = (
    "radial_basis",
    "cbf_basis_qint.radial_basis",
    "sbf_basis_qint.radial_basis",
    "radial_basis_aeaint",
    "cbf_basis_aeint.radial_basis",
    "cbf_basis_eaint.radial_basis",
    "radial_basis_aint",
    "cbf_basis_tint.radial_basis",
)
_SIZE_NAMES = (
    "num_spherical", "num_radial", "num_blocks", "emb_size_atom", "emb_size_edge", "emb_size_trip_in",
    "emb_size_trip_out", "emb_size_quad_in", "emb_size_quad_out", "emb_size_aint_in", "emb_size_aint_out",
    "emb_size_rbf", "emb_size_cbf", "emb_size_sbf", "num_before_skip", "num_after_skip", "num_concat",
    "num_atom",
    "num_output_afteratom", "num_atom_emb_layers", "num_global_out_layers", "num_elements",
)  # fmt: skip
_REQUIRED_OPTIONS: dict[str, tuple[object, ...]] = {
    "rbf": ("gaussian",), "rbf_spherical": (None, "gaussian"), "envelope": ("polynomial",),
    "cbf": ("spherical_harmonics",), "sbf": ("legendre_outer",), "activation": ("scaled_silu",),
    "quad_interaction": (True,),
    "atom_edge_interaction": (True,), "edge_atom_interaction": (True,), "atom_interaction": (True,),
    "scale_basis": (False,), "ln": (False,), "replace_scale_factors_with_ln": (False,),
    "learnable_rbf": (False,),
    "learnable_rbf_stds": (False,), "unique_basis_per_layer": (False,),
    "old_gaussian_implementation": (False,),
}  # fmt: skip


def backbone_layout(c: BackboneConfig) -> dict[str, Shape]:
    """Official key (relative to ``backbone.``) -> shape, in file order, aliases and all eight radial bases
    included."""
    layout = _bases_layout(c)
    for i in range(c.num_blocks):
        layout |= {f"int_blocks.{i}.{name}": shape for name, shape in _interaction_layout(c).items()}
    for i in range(c.num_blocks + 1):
        layout |= {f"out_blocks.{i}.{name}": shape for name, shape in _output_layout(c).items()}
    atom, edge, blocks = c.emb_size_atom, c.emb_size_edge, c.num_blocks + 1
    layout["out_mlp_E.out_mlp.0.linear.weight"] = (atom, blocks * atom)
    layout |= _residuals("out_mlp_E.out_mlp", range(1, c.num_global_out_layers + 1), atom)
    if c.force_branch:
        layout["out_mlp_F.out_mlp.0.linear.weight"] = (edge, blocks * edge)
        layout |= _residuals("out_mlp_F.out_mlp", range(1, c.num_global_out_layers + 1), edge)
    return layout


def head_layout(
    prefix: str, width: int, *, n_layers: int = 5, n_out: int = 1, bias: bool = True
) -> dict[str, Shape]:
    """Keys of one head MLP under ``prefix`` (``gemnet_oc.md`` 11.1): a last layer of one output has no
    bias."""
    layout: dict[str, Shape] = {}
    for layer in range(n_layers):
        last = layer == n_layers - 1
        rows = n_out if last else width
        layout[f"{prefix}.{2 * layer}.weight"] = (rows, width)
        if bias and not (last and n_out == 1):
            layout[f"{prefix}.{2 * layer}.bias"] = (rows,)
    return layout


def infer_backbone(shapes: Mapping[str, Shape], hyper: Mapping[str, Any] | None) -> BackboneConfig:
    """Sizes of the backbone from the shapes in a state dict; ``hyper`` (hyper_parameters["backbone"]) adds
    the rest.

    Args:
        shapes: official key, with its ``backbone.`` root, -> shape; the embedding as ``embedding``.
        hyper: options as stored, or None; unknown ones are ignored.

    Raises:
        ModelError: a tensor that fixes a size is missing, or the file asks for a network this package has not
            got.
    """
    sizes = _sizes_from_shapes(shapes)
    hyper = hyper or {}
    _check_options(hyper)
    for name in _SIZE_NAMES:
        if type(hyper.get(name)) is int and hyper[name] != sizes[name]:
            raise ModelError(
                f"The checkpoint states {name} = {hyper[name]}, but its tensors have {sizes[name]}.",
                hint="the file is inconsistent; get it from its publisher",
            )
    cutoff, envelope, tags = hyper.get("absolute_rbf_cutoff"), hyper.get("envelope"), hyper.get("qint_tags")
    exponent = envelope.get("exponent") if isinstance(envelope, dict) else None
    return BackboneConfig(
        **sizes,
        envelope_exponent=exponent if type(exponent) is int and exponent > 0 else 5,
        radial_cutoff=_positive(cutoff) or 12.0,
        qint_tags=tuple(tags)
        if isinstance(tags, list | tuple) and all(type(t) is int for t in tags)
        else (1, 2),
        quad_interaction=True,
        force_branch="backbone.out_mlp_F.out_mlp.0.linear.weight" in shapes,
    )


def _positive(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else None


def _check_options(hyper: Mapping[str, Any]) -> None:
    for name, legal in _REQUIRED_OPTIONS.items():
        value = hyper.get(name, legal[0])
        value = value.get("name") if isinstance(value, dict) else value
        if value not in legal:
            raise ModelError(
                f"The checkpoint uses the network option {name} = {value!r}, which jmp-calc has not got.",
                hint=f"only {name} = {legal[0]!r}, as in the published models, can be read",
            )


def _sizes_from_shapes(shapes: Mapping[str, Shape]) -> dict[str, int]:
    def size(key: str, axis: int) -> int:
        shape = shapes.get(key)
        if shape is None or len(shape) <= axis:
            raise ModelError(
                f"The checkpoint has no usable tensor {key}.",
                hint="it is not a JMP checkpoint, or it is incomplete",
            )
        return shape[axis]

    def count(pattern: str) -> int:
        return len({m.group(1) for m in map(re.compile(pattern).fullmatch, shapes) if m})

    block, bases, tail = "backbone.int_blocks.0.", "backbone.bases.", r"\.dense_mlp\.0\.linear\.weight"
    start = r"backbone\.int_blocks\.0\."
    return {
        "num_elements": size("embedding", 0),
        "emb_size_atom": size("embedding", 1),
        "emb_size_edge": size(bases + "edge_emb.dense.linear.weight", 0),
        "num_radial": size(bases + "mlp_rbf_tint.linear.weight", 1),
        "emb_size_rbf": size(bases + "mlp_rbf_tint.linear.weight", 0),
        "num_spherical": size(bases + "mlp_cbf_tint.weight", 1),
        "emb_size_cbf": size(bases + "mlp_cbf_tint.weight", 2),
        "emb_size_sbf": size(bases + "mlp_sbf_qint.weight", 2),
        "emb_size_trip_in": size(block + "trip_interaction.down_projection.linear.weight", 0),
        "emb_size_trip_out": size(block + "trip_interaction.up_projection_ca.linear.weight", 1),
        "emb_size_quad_in": size(block + "quad_interaction.down_projection.linear.weight", 0),
        "emb_size_quad_out": size(block + "quad_interaction.up_projection_ca.linear.weight", 1),
        "emb_size_aint_in": size(block + "atom_interaction.down_projection.linear.weight", 0),
        "emb_size_aint_out": size(block + "atom_interaction.up_projection.linear.weight", 1),
        "num_blocks": count(r"backbone\.int_blocks\.(\d+)\.dense_ca\.linear\.weight"),
        "num_before_skip": count(start + r"layers_before_skip\.(\d+)" + tail),
        "num_after_skip": count(start + r"layers_after_skip\.(\d+)" + tail),
        "num_atom_emb_layers": count(start + r"atom_emb_layers\.(\d+)" + tail),
        "num_concat": count(start + r"residual_m\.(\d+)" + tail),
        "num_atom": count(start + r"atom_update\.layers\.(\d+)" + tail),
        "num_output_afteratom": count(r"backbone\.out_blocks\.0\.seq_energy2\.(\d+)" + tail),
        "num_global_out_layers": count(r"backbone\.out_mlp_E\.out_mlp\.(\d+)" + tail),
    }


def _residuals(prefix: str, layers: range, width: int) -> dict[str, Shape]:
    return {f"{prefix}.{j}.dense_mlp.{k}.linear.weight": (width, width) for j in layers for k in (0, 1)}


def _bases_layout(c: BackboneConfig) -> dict[str, Shape]:
    radial, rbf, cbf = c.num_radial, c.emb_size_rbf, c.emb_size_cbf
    layout: dict[str, Shape] = {}
    for name in RADIAL_BASES:
        layout |= {f"bases.{name}.rbf.offset": (radial,), f"bases.{name}.rbf.temps": (radial,)}
    circular = (radial, c.num_spherical, cbf)
    layout |= {
        "bases.mlp_rbf_qint.linear.weight": (rbf, radial),
        "bases.mlp_cbf_qint.weight": circular,
        "bases.mlp_sbf_qint.weight": (radial, c.num_spherical**2, c.emb_size_sbf),
        "bases.mlp_rbf_aeint.linear.weight": (rbf, radial),
        "bases.mlp_cbf_aeint.weight": circular,
        "bases.mlp_rbf_eaint.linear.weight": (rbf, radial),
        "bases.mlp_cbf_eaint.weight": circular,
        "bases.mlp_rbf_aint.weight": (rbf, radial),
        "bases.mlp_rbf_tint.linear.weight": (rbf, radial),
        "bases.mlp_cbf_tint.weight": circular,
        "bases.mlp_rbf_h.linear.weight": (rbf, radial),
        "bases.mlp_rbf_out.linear.weight": (rbf, radial),
        "bases.edge_emb.dense.linear.weight": (c.emb_size_edge, 2 * c.emb_size_atom + radial),
    }
    return layout


def _triplet_layout(c: BackboneConfig, width_in: int, width_out: int, *, both: bool) -> dict[str, Shape]:
    """Triplet-like interaction from features of ``width_in`` to ``width_out``; ``both``: two edge
    directions."""
    layout = {
        "dense_ba.linear.weight": (width_in, width_in),
        "mlp_rbf.linear.weight": (width_in, c.emb_size_rbf),
        "scale_rbf.scale_factor": (),
        "mlp_cbf.bilinear.linear.weight": (c.emb_size_trip_out, c.emb_size_trip_in * c.emb_size_cbf),
        "scale_cbf_sum.scale_factor": (),
        "down_projection.linear.weight": (c.emb_size_trip_in, width_in),
        "up_projection_ca.linear.weight": (width_out, c.emb_size_trip_out),
    }
    if both:
        layout["up_projection_ac.linear.weight"] = (width_out, c.emb_size_trip_out)
    return layout


def _quadruplet_layout(c: BackboneConfig) -> dict[str, Shape]:
    edge, quad_in, quad_out = c.emb_size_edge, c.emb_size_quad_in, c.emb_size_quad_out
    return {
        "dense_db.linear.weight": (edge, edge),
        "mlp_rbf.linear.weight": (edge, c.emb_size_rbf),
        "scale_rbf.scale_factor": (),
        "mlp_cbf.linear.weight": (quad_in, c.emb_size_cbf),
        "scale_cbf.scale_factor": (),
        "mlp_sbf.bilinear.linear.weight": (quad_out, quad_in * c.emb_size_sbf),
        "scale_sbf_sum.scale_factor": (),
        "down_projection.linear.weight": (quad_in, edge),
        "up_projection_ca.linear.weight": (edge, quad_out),
        "up_projection_ac.linear.weight": (edge, quad_out),
    }


def _interaction_layout(c: BackboneConfig) -> dict[str, Shape]:
    atom, edge = c.emb_size_atom, c.emb_size_edge
    parts = {
        "trip_interaction": _triplet_layout(c, edge, edge, both=True),
        "quad_interaction": _quadruplet_layout(c),
        "atom_edge_interaction": _triplet_layout(c, atom, edge, both=True),
        "edge_atom_interaction": _triplet_layout(c, edge, atom, both=False),
        "atom_interaction": {
            "bilinear.linear.weight": (c.emb_size_aint_out, c.emb_size_aint_in * c.emb_size_rbf),
            "scale_rbf_sum.scale_factor": (),
            "down_projection.linear.weight": (c.emb_size_aint_in, atom),
            "up_projection.linear.weight": (atom, c.emb_size_aint_out),
        },
    }
    layout: dict[str, Shape] = {"dense_ca.linear.weight": (edge, edge)}
    for part, entries in parts.items():
        layout |= {f"{part}.{name}": shape for name, shape in entries.items()}
    layout |= _residuals("layers_before_skip", range(c.num_before_skip), edge)
    layout |= _residuals("layers_after_skip", range(c.num_after_skip), edge)
    layout |= _residuals("atom_emb_layers", range(c.num_atom_emb_layers), atom)
    layout |= {
        "atom_update.dense_rbf.linear.weight": (edge, c.emb_size_rbf),
        "atom_update.scale_sum.scale_factor": (),
    }
    layout |= {f"atom_update.{name}": shape for name, shape in _atom_layers(c, "layers").items()}
    layout["concat_layer.dense.linear.weight"] = (edge, 2 * atom + edge)
    return layout | _residuals("residual_m", range(c.num_concat), edge)


def _atom_layers(c: BackboneConfig, prefix: str) -> dict[str, Shape]:
    if c.emb_size_atom == c.emb_size_edge:  # no change of width, no first layer
        return _residuals(prefix, range(c.num_atom), c.emb_size_atom)
    layout: dict[str, Shape] = {f"{prefix}.0.linear.weight": (c.emb_size_atom, c.emb_size_edge)}
    return layout | _residuals(prefix, range(1, c.num_atom + 1), c.emb_size_atom)


def _output_layout(c: BackboneConfig) -> dict[str, Shape]:
    edge = c.emb_size_edge
    layout: dict[str, Shape] = {
        "dense_rbf.linear.weight": (edge, c.emb_size_rbf),
        "scale_sum.scale_factor": (),
    }
    layout |= _atom_layers(c, "layers") | _atom_layers(c, "seq_energy_pre")
    layout |= _residuals("seq_energy2", range(c.num_output_afteratom), c.emb_size_atom)
    if c.force_branch:
        layout["scale_rbf_F.scale_factor"] = ()
        layout |= _residuals("seq_forces", range(c.num_output_afteratom), edge)
        layout["dense_rbf_F.linear.weight"] = (edge, c.emb_size_rbf)
    return layout
