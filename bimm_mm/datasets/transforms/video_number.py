"""A sample that is the number of a video, for frames on the device."""

from __future__ import annotations

import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement

from bimm_mm.datasets.transforms.sample import media_path
from bimm_mm.datasets.video_list import VideoList
from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackVideoNumber(BaseTransform):
    """The only transform before :class:`bimm_mm.StimulusFromFrames`.

    Or before :class:`bimm_mm.ActionFromFrames`. Nothing is decoded:
    ``inputs`` is the place of the video in the list of all videos. Of the
    data sample's metainfo, ``path`` and ``filename`` are the video's, and
    ``video_list`` names the list by its content; for pretraining ``index``,
    ``frames`` and ``replaced`` are as of :class:`bimm_mm.PackClipInputs`.

    Args:
        ann_file (str): List of all videos, the ``ann_file`` of the
            preprocessor's ``frames``; the dataset's own list names some of
            them.
        data_root (str): Folder to which its paths are relative.
        delimiter (str): Between path and label. Defaults to ' '.
        label (bool): Whether the data sample is mmaction2's, with the
            label; pretraining needs none. Defaults to True.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If it is empty or malformed.
    """

    def __init__(
        self,
        ann_file: str,
        *,
        data_root: str,
        delimiter: str = ' ',
        label: bool = True,
    ) -> None:
        self.videos = VideoList(ann_file, data_root, delimiter)
        self.list = self.videos.digest
        self.label = label

    def transform(self, results: dict) -> dict:
        """Pack one sample.

        Args:
            results (dict): A sample of a ``VideoDataset``.

        Returns:
            dict: ``inputs`` (Tensor), int64 (1,), and ``data_samples``.

        Raises:
            FileNotFoundError: If the list does not name the video.
        """
        path = media_path(results)
        number = self.videos.number(path)
        sample = self._labelled(results) if self.label else BaseDataElement()
        metainfo = {
            'path': path,
            'filename': path,
            'index': results.get('sample_idx'),
            'frames': None,
            'replaced': [],
            'video_list': self.list,
        }
        sample.set_metainfo(metainfo)
        return {'inputs': torch.tensor([number]), 'data_samples': sample}

    def _labelled(self, results: dict) -> BaseDataElement:
        # Not above: pretraining on images does without mmaction2.
        from mmaction.structures import ActionDataSample

        return ActionDataSample().set_gt_label(results['label'])
