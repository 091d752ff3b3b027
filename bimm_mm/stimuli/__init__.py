"""Stimuli that show one property each, to ask what an encoder represents."""

from bimm_mm.stimuli.base import Nuisance, Property
from bimm_mm.stimuli.make import (
    FAMILIES,
    PROPERTIES,
    Stimuli,
    contact_sheet,
    make_stimuli,
)

__all__ = [
    'FAMILIES',
    'PROPERTIES',
    'Nuisance',
    'Property',
    'Stimuli',
    'contact_sheet',
    'make_stimuli',
]
