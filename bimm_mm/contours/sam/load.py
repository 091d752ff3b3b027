"""SAM from a file of weights alone: its size is read off the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from bimm_mm.models.checkpoints.load import read_state_dict
from bimm_mm.utils.files import sha256_of_file

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

HINT = (
    'a checkpoint of Segment Anything (SAM 1), such as '
    'sam_vit_b_01ec64.pth from '
    'https://github.com/facebookresearch/segment-anything#model-checkpoints'
)
SIZES = {
    'vit_b': dict(width=768, depth=12),
    'vit_l': dict(width=1024, depth=24),
    'vit_h': dict(width=1280, depth=32),
}
# What the weights do not tell; the same in every SAM.
DECODER_HEADS = 8
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

_ENCODER = 'image_encoder.'
_DECODER = 'mask_decoder.'
_PROMPT = 'prompt_encoder.'


@dataclass(frozen=True)
class LoadedSam:
    """A SAM and where it comes from.

    Args:
        model (Sam): The official module, in evaluation mode, on the CPU.
        size (str): ``'vit_b'``, ``'vit_l'``, ``'vit_h'``, or width and depth
            of any other, as in ``'vit_64x2'``.
        sha256 (str): Of the file (hex).
    """

    model: Sam
    size: str
    sha256: str


@dataclass(frozen=True)
class Architecture:
    """Sizes of a SAM.

    Args:
        width (int): Channels of the encoder.
        depth (int): Blocks of the encoder.
        heads (int): Heads of the encoder.
        grid (int): Patches along one side of the picture.
        patch (int): Side of a patch in pixels.
        mlp (int): Channels within the encoder's MLPs.
        window (int): Side of an attention window in patches; 0 for none.
        global_blocks (tuple[int, ...]): Blocks without windows.
        channels (int): Channels of the decoder.
        mask_channels (int): Channels that encode a mask prompt.
        layers (int): Layers of the decoder.
        decoder_mlp (int): Channels within the decoder's MLPs.
        masks (int): Masks per prompt, the single one not counted.
        iou_depth (int): Layers that predict the IoU.
        iou_width (int): Channels within them.
    """

    width: int
    depth: int
    heads: int
    grid: int
    patch: int
    mlp: int
    window: int
    global_blocks: tuple[int, ...]
    channels: int
    mask_channels: int
    layers: int
    decoder_mlp: int
    masks: int
    iou_depth: int
    iou_width: int

    @property
    def size(self) -> str:
        """Its name, see :class:`LoadedSam`."""
        for name, found in SIZES.items():
            if found == dict(width=self.width, depth=self.depth):
                return name
        return f'vit_{self.width}x{self.depth}'


def load_sam(path: str, *, size: str | None = None) -> LoadedSam:
    """Load a SAM of any size.

    Args:
        path (str): A state dict as Meta publishes it.
        size (str, optional): What it must be, ``'vit_b'``, ``'vit_l'`` or
            ``'vit_h'``. Defaults to None: whatever it is.

    Returns:
        LoadedSam: The official module with these weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If segment-anything is not installed.
        ValueError: If it holds no SAM, or one of another size.
    """
    if size is not None and size not in SIZES:
        raise ValueError(f'size {size!r} is unknown, choose of {list(SIZES)}')
    _require_library()
    state = read_state_dict(path)
    try:
        found = infer_architecture(state)
        model = build_sam(found)
        model.load_state_dict(state)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ValueError(
            f'{path} holds no SAM: {_first_line(error)}. Expected is {HINT}; '
            'SAM 2, MobileSAM and converted checkpoints are other models'
        ) from error
    if size not in (None, found.size):
        raise ValueError(
            f'{path} holds a SAM of size {found.size!r}, asked for was '
            f'{size!r}: give the weights of that size, or leave size out'
        )
    return LoadedSam(model.eval(), found.size, sha256_of_file(path))


def infer_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """Sizes of the SAM whose weights these are.

    Args:
        state (Mapping[str, Tensor]): Weights by parameter name.

    Returns:
        Architecture: Its sizes.

    Raises:
        KeyError: If a weight that every SAM has is missing.
        ValueError: If windows differ in size.
    """
    patches = state[f'{_ENCODER}patch_embed.proj.weight']
    depth = _count(state, f'{_ENCODER}blocks.')
    tables = [
        state[f'{_ENCODER}blocks.{i}.attn.rel_pos_h'] for i in range(depth)
    ]
    grid = state[f'{_ENCODER}pos_embed'].shape[1]
    # A table has an entry for each distance, from 1 - side to side - 1.
    sides = [(len(table) + 1) // 2 for table in tables]
    windows = set(sides) - {grid}
    if len(windows) > 1:
        raise ValueError(f'attention windows of several sizes {windows}')
    layers = f'{_DECODER}transformer.layers.'
    iou = f'{_DECODER}iou_prediction_head.layers.'
    return Architecture(
        width=patches.shape[0],
        depth=depth,
        heads=patches.shape[0] // tables[0].shape[1],
        grid=grid,
        patch=patches.shape[-1],
        mlp=len(state[f'{_ENCODER}blocks.0.mlp.lin1.weight']),
        window=windows.pop() if windows else 0,
        global_blocks=tuple(i for i, s in enumerate(sides) if s == grid),
        channels=len(state[f'{_ENCODER}neck.0.weight']),
        mask_channels=len(state[f'{_PROMPT}mask_downscaling.3.weight']),
        layers=_count(state, layers),
        decoder_mlp=len(state[f'{layers}0.mlp.lin1.weight']),
        masks=len(state[f'{_DECODER}mask_tokens.weight']) - 1,
        iou_depth=_count(state, iou),
        iou_width=len(state[f'{iou}0.weight']),
    )


def build_sam(sizes: Architecture) -> Sam:
    """The official modules in these sizes, with random weights.

    Raises:
        ImportError: If segment-anything is not installed.
    """
    _require_library()
    from segment_anything import modeling

    side = sizes.grid * sizes.patch
    encoder = modeling.ImageEncoderViT(
        img_size=side,
        patch_size=sizes.patch,
        embed_dim=sizes.width,
        depth=sizes.depth,
        num_heads=sizes.heads,
        mlp_ratio=sizes.mlp / sizes.width,
        out_chans=sizes.channels,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=sizes.window,
        global_attn_indexes=sizes.global_blocks,
    )
    prompts = modeling.PromptEncoder(
        embed_dim=sizes.channels,
        image_embedding_size=(sizes.grid, sizes.grid),
        input_image_size=(side, side),
        mask_in_chans=sizes.mask_channels,
    )
    transformer = modeling.TwoWayTransformer(
        depth=sizes.layers,
        embedding_dim=sizes.channels,
        num_heads=DECODER_HEADS,
        mlp_dim=sizes.decoder_mlp,
    )
    decoder = modeling.MaskDecoder(
        transformer_dim=sizes.channels,
        transformer=transformer,
        num_multimask_outputs=sizes.masks,
        iou_head_depth=sizes.iou_depth,
        iou_head_hidden_dim=sizes.iou_width,
    )
    return modeling.Sam(
        encoder, prompts, decoder, list(PIXEL_MEAN), list(PIXEL_STD)
    ).eval()


def _require_library() -> None:
    try:
        import segment_anything  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "the contour detector 'sam' needs the package segment-anything: "
            'pip install segment-anything==1.0'
        ) from error


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Modules in the list with this prefix."""
    start = len(prefix)
    numbers = {
        int(key[start:].split('.')[0])
        for key in state
        if key.startswith(prefix)
    }
    if not numbers:
        raise KeyError(f'{prefix}0')
    return max(numbers) + 1


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f'it has no weight {error.args[0]!r}'
    lines = [line.strip() for line in str(error).splitlines()]
    return ' '.join(lines[:2])
