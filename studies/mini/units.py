"""Units of work of the study, each of which is run once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from studies.mini.methods import METHODS, ventral_of

KINDS = ('ventral', 'pretrain', 'finetune', 'probe', 'trivial')
BUDGETS = ('clips', 'time')
PRETRAIN_ON = ('train', 'all')
# Trained by all other methods' clock: its own two budgets are one.
REFERENCE = 'videomae'
# Features without learning stand where a method stands.
TRIVIAL = 'trivial'


@dataclass(frozen=True)
class Unit:
    """One training, or one evaluation of frozen features.

    Args:
        kind (str): ``'ventral'``, ``'pretrain'``, ``'finetune'``, ``'probe'``
            or ``'trivial'``.
        method (str): A key of ``METHODS``; of a ventral stage in the budget
            ``'clips'`` the stage's own name, since methods share it; of
            trivial features ``'trivial'``.
        size (str): A size of the study.
        seed (int): Of weights and samples.
        fold (str, optional): Name of the fold; None: pretraining on all
            clips.
        budget (str): ``'clips'``: every video branch sees the same number of
            clips. ``'time'``: pretraining takes as long as VideoMAE's.
        pretrain_on (str): ``'train'``: pretrained anew on each fold's
            training clips. ``'all'``: once on all clips, without labels.

    Raises:
        ValueError: If a value is unknown.
    """

    kind: str
    method: str
    size: str
    seed: int
    fold: str | None
    budget: str
    pretrain_on: str

    def __post_init__(self) -> None:
        for name, known in (
            ('kind', KINDS),
            ('budget', BUDGETS),
            ('pretrain_on', PRETRAIN_ON),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f'a unit of {name} {value!r}: choose from '
                    f'{", ".join(known)}'
                )

    @property
    def id(self) -> str:
        """Such as ``'small-clips-train/bimm/seed0/fold2-pretrain'``."""
        study = f'{self.size}-{self.budget}-{self.pretrain_on}'
        where = 'all' if self.fold is None else f'fold{self.fold}'
        return f'{study}/{self.method}/seed{self.seed}/{where}-{self.kind}'

    @property
    def file_name(self) -> str:
        """The id without slashes."""
        return self.id.replace('/', '-')

    @property
    def trains(self) -> bool:
        """Whether it trains an encoder, and can stop and go on."""
        return self.kind in ('ventral', 'pretrain', 'finetune')

    @property
    def pretrains(self) -> bool:
        """Whether others need its weights."""
        return self.kind in ('ventral', 'pretrain')

    @property
    def stage(self) -> str | None:
        """Name of the ventral stage that it is or needs, if any."""
        if self.kind == 'ventral' and self.budget == 'clips':
            return self.method
        if self.method == TRIVIAL or not self.pretrains:
            return None
        return ventral_of(self.method)

    def needs(self) -> tuple[Unit, ...]:
        """Units that must be finished before this one."""
        if self.kind in ('finetune', 'probe'):
            untrained = METHODS[self.method].config is None
            return () if untrained else (self.pretraining(),)
        if self.kind == 'trivial':
            return ()
        ventral = self.ventral() if self.kind == 'pretrain' else None
        before = () if ventral is None else (ventral,)
        return before if self.budget == 'clips' else self.timed() + before

    def pretraining(self) -> Unit:
        """The pretraining that a finetuning or probe starts from."""
        fold = self.fold if self.pretrain_on == 'train' else None
        return self._like(kind='pretrain', fold=fold)

    def ventral(self) -> Unit | None:
        """The ventral stage that a pretraining starts from, if any."""
        stage = ventral_of(self.method)
        if stage is None:
            return None
        method = stage if self.budget == 'clips' else self.method
        return self._like(kind='ventral', method=method)

    def timed(self) -> tuple[Unit, ...]:
        """Units of the clips budget whose speed decides about this one."""
        own = self._like(kind='pretrain', budget='clips')
        reference = self._like(
            kind='pretrain', method=REFERENCE, budget='clips'
        )
        ventral = own.ventral()
        first = (reference,) if ventral is None else (reference, ventral)
        return (*first, own)

    def _like(self, **changes: Any) -> Unit:
        return Unit(**asdict(self) | changes)


def read_unit(fields: Mapping[str, Any]) -> Unit:
    """A unit from the fields in its record.

    Args:
        fields (Mapping): What ``dataclasses.asdict`` made.

    Returns:
        Unit: The unit.

    Raises:
        ValueError: If fields are missing or unknown.
    """
    try:
        return Unit(**fields)
    except TypeError as error:
        raise ValueError(f'{dict(fields)} is no unit: {error}') from None
