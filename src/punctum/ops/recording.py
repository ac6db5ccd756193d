"""Whether a graph is being recorded: what is looked at for its value then, cannot be."""

import torch

# Torch 2.6 does not tell exporting from compiling.
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
