#!/usr/bin/env python
"""Measure what an encoder tells about controlled stimuli: bimm tuning."""

import sys

from bimm_mm.cli import main

if __name__ == '__main__':
    main(['tuning', *sys.argv[1:]])
