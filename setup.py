"""Builds the native kernels. One build carries every SHA-256 path; the CPU chooses at run time."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
C_SOURCES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("native/c/*.c"))
INCLUDED = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("native/c/*.h"), *ROOT.glob("native/*.pxi")])

kernels = Extension(
    "native._kernels",
    sources=["native/_kernels.pyx", *C_SOURCES],
    depends=INCLUDED,
    include_dirs=["native"],
    extra_compile_args=["-std=c11", "-O3", "-g0", "-fvisibility=hidden"],
    optional=True,  # without a compiler the plain Python twins run
)

setup(ext_modules=cythonize([kernels]))
