"""Stimuli that show one property each, to ask what an encoder represents."""

from bimm_mm.stimuli.base import Nuisance, Property
from bimm_mm.stimuli.make import PROPERTIES, Stimuli, make_stimuli

__all__ = ['PROPERTIES', 'Nuisance', 'Property', 'Stimuli', 'make_stimuli']
