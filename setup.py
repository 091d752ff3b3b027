"""Puts the configs into the wheel, where OpenMMLab's tools look for them."""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithConfigs(build_py):
    """Copies configs and model-index.yml to ``bimm_mm/.mim``."""

    def run(self) -> None:
        """Build as usual, then copy; an editable install needs no copy."""
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib, 'bimm_mm', '.mim')
        copytree(
            ROOT / 'configs',
            mim / 'configs',
            ignore=ignore_patterns('__pycache__'),
            dirs_exist_ok=True,
        )
        self.copy_file(str(ROOT / 'model-index.yml'), str(mim))


setup(cmdclass={'build_py': BuildWithConfigs})
