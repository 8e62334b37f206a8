"""Runs transformers' models in real float64.

`model.double()` alone is not float64: the RMS norms compute in float32 whatever they are given, and the rotary
tables are float32. Here both keep their input's dtype. The rotary frequencies stay the float32 numbers that
transformers makes, because they are part of the model; their angles, sines and cosines are float64.
"""
import copy
import types

import torch


def exact_copy(model):
    """A float64 copy of `model` (plain or wrapped by PEFT) with the same weights."""
    twin = copy.deepcopy(model)
    rotaries = [module for module in twin.modules() if type(module).__name__.endswith("RotaryEmbedding")]
    frequencies = [rotary.inv_freq.clone() for rotary in rotaries]
    twin = twin.double()
    for rotary, frequency in zip(rotaries, frequencies, strict=True):
        assert torch.equal(rotary.inv_freq, frequency.double())
        rotary.forward = types.MethodType(_exact_rotary, rotary)
    for module in twin.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(_exact_norm, module)
    return twin


def reset_rotary(model) -> None:
    """Undoes what earlier, longer sequences did to a dynamic NTK table: the table belongs to one sequence's length."""
    for module in model.modules():
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.register_buffer("inv_freq", module.original_inv_freq.clone(), persistent=False)
            module.max_seq_len_cached = module.original_max_seq_len


def rotary_of(model):
    """The one rotary module of a model: `inv_freq` is its table after the last sequence."""
    return next(module for module in model.modules() if type(module).__name__.endswith("RotaryEmbedding"))


def _exact_norm(self, hidden_states):
    mean_square = hidden_states.pow(2).mean(-1, keepdim=True)
    return self.weight * (hidden_states * torch.rsqrt(mean_square + self.variance_epsilon))


def _exact_rotary(self, x, position_ids):
    type(self).forward(self, x, position_ids)  # recomputes a dynamic table for this length
    angles = position_ids[..., None].to(x.dtype) * self.inv_freq.to(x.dtype)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
