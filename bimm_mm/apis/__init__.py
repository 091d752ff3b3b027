"""What scripts and notebooks call."""

from bimm_mm.apis.classifiers import ProbeOptions
from bimm_mm.apis.config import (
    check_checkpoint,
    check_device,
    check_load_from,
    describe_batch,
    load_config,
    set_resume,
    set_work_dir,
    starts_from_scratch,
    use_amp,
    use_auto_scale_lr,
)
from bimm_mm.apis.curves import (
    AreaProgress,
    read_progress,
    read_scalars,
    save_curves,
)
from bimm_mm.apis.data_files import check_data_files
from bimm_mm.apis.feature_file import (
    Features,
    check_same_kind,
    read_features,
    write_features,
)
from bimm_mm.apis.feature_options import (
    FeatureOptions,
    add_feature_arguments,
    feature_options,
)
from bimm_mm.apis.feature_store import save_features
from bimm_mm.apis.features import Extraction, extract_features
from bimm_mm.apis.folds import Fold, find_folds, split_fold
from bimm_mm.apis.launch import add_shared_arguments, build_runner
from bimm_mm.apis.pictures import save_pictures
from bimm_mm.apis.probe import FoldScore, probe, summary
from bimm_mm.apis.provenance import log_provenance
from bimm_mm.apis.reconstruct import init_model, load_batch, reconstruct
from bimm_mm.utils.files import atomic_path, write_json, write_text

__all__ = [
    'AreaProgress',
    'Extraction',
    'FeatureOptions',
    'Features',
    'Fold',
    'FoldScore',
    'ProbeOptions',
    'add_feature_arguments',
    'add_shared_arguments',
    'atomic_path',
    'build_runner',
    'check_checkpoint',
    'check_data_files',
    'check_device',
    'check_load_from',
    'check_same_kind',
    'describe_batch',
    'extract_features',
    'feature_options',
    'find_folds',
    'init_model',
    'load_batch',
    'load_config',
    'log_provenance',
    'probe',
    'read_features',
    'read_progress',
    'read_scalars',
    'reconstruct',
    'save_curves',
    'save_features',
    'save_pictures',
    'set_resume',
    'set_work_dir',
    'split_fold',
    'starts_from_scratch',
    'summary',
    'use_amp',
    'use_auto_scale_lr',
    'write_features',
    'write_json',
    'write_text',
]
