"""Package metadata; the tested versions live in requirements/."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# These exist in one version only that works with the others. Everything else
# is named without a version: pip must not replace a user's own torch.
FROZEN = ('mmengine', 'mmcv', 'mmpretrain', 'mmaction2')


def requirements(name: str) -> list[str]:
    """Requirements of one file, loosened except for OpenMMLab's packages."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith('#')]
    return [
        pin if pin.startswith(FROZEN) else pin.split('==')[0] for pin in pins
    ]


def version() -> str:
    """Read the version without importing the package."""
    _, number, _ = (ROOT / 'bimm_mm' / 'version.py').read_text().split("'")
    return number


setup(
    name='bimm_mm',
    version=version(),
    description='Brain Inspired Masked Modeling (BIMM) for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text()
    if (ROOT / 'README.md').exists()
    else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['bimm_mm', 'bimm_mm.*']),
    package_data={'bimm_mm.leaderboard': ['*.yml']},
    install_requires=requirements('runtime'),
    extras_require={
        'optional': requirements('optional'),
        'ray': requirements('ray'),
        'tests': requirements('tests'),
    },
)
