"""SAM from a file of weights alone: its size is read off the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bimm_mm.models.checkpoints.load import load_fully, read_state_dict
from bimm_mm.utils.files import sha256_of_file

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

HINT = (
    'a checkpoint of Segment Anything (SAM 1), such as '
    'sam_vit_b_01ec64.pth from '
    'https://github.com/facebookresearch/segment-anything#model-checkpoints'
)
# Channels of the encoder, and the name in segment-anything's registry.
SIZES = {768: 'vit_b', 1024: 'vit_l', 1280: 'vit_h'}


class LoadedSam(NamedTuple):
    """The official module, for evaluation, and the file's SHA-256 (hex)."""

    model: Sam
    size: str
    sha256: str


def load_sam(path: str) -> LoadedSam:
    """Load a SAM of any size from a state dict as Meta publishes it."""
    try:
        from segment_anything import sam_model_registry
    except ImportError as error:
        raise ImportError(
            "the contour detector 'sam' needs the package segment-anything: "
            'pip install segment-anything==1.0'
        ) from error
    state = read_state_dict(path)
    width = len(state.get('image_encoder.patch_embed.proj.weight', ()))
    size = SIZES.get(width, 'vit_b')
    model = sam_model_registry[size]()
    try:
        load_fully(model, state, source=path, what=f'SAM {size}')
    except ValueError as error:
        raise ValueError(
            f'{error}. Expected is {HINT}; SAM 2, MobileSAM and converted '
            'checkpoints are other models'
        ) from error
    return LoadedSam(model.eval(), size, sha256_of_file(path))
