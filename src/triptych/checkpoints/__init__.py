"""Checkpoints: folders of safetensors, a JSON state and a manifest, written so that no crash can tear one.

Two steps decide everything, and both are single renames. A new checkpoint is written whole under
`.writing/`, read back, and renamed to its final name. One that already has its name changes (it is
written again after a resume, or thinned) when its manifest is replaced: what the manifest in place
names is the checkpoint, what it does not name is rubbish. Only one process may write; see `lock`.
"""
