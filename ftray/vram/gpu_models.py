"""GPU models by name: one name for all that PyTorch, Ray, NVML and people write, and the memory that a name stands for.

Takes: a name. Gives: its canonical form, and GiB as `torch.cuda.get_device_properties` reports them.
"""

import re

REPORTED = {
    "A2": 14.54,
    "A10": 21.9,
    "A10G": 21.9,
    "A30": 23.5,
    "A40": 44.3,
    "A100": 39.38,
    "A100 40G": 39.38,
    "A100 80G": 79.1,
    "A800": 39.38,
    "A800 80G": 79.1,
    "B200": 178.3,
    "GB10": 119.6,
    "GB200": 184.0,
    "GH200": 94.5,
    "H100": 79.1,
    "H100 NVL": 93.0,
    "H20": 95.0,
    "H200": 139.7,
    "H800": 79.1,
    "L4": 21.9,
    "L40": 44.3,
    "L40S": 44.3,
    "RTX 2060": 5.6,
    "RTX 2070": 7.6,
    "RTX 2080": 7.6,
    "RTX 2080 TI": 10.57,
    "RTX 3060": 11.76,
    "RTX 3060 TI": 7.66,
    "RTX 3070": 7.66,
    "RTX 3070 TI": 7.66,
    "RTX 3080": 9.75,
    "RTX 3080 TI": 11.75,
    "RTX 3090": 23.66,
    "RTX 3090 TI": 23.5,
    "RTX 4060": 7.63,
    "RTX 4060 TI": 7.63,
    "RTX 4060 TI 16G": 15.6,
    "RTX 4070": 11.72,
    "RTX 4070 SUPER": 11.71,
    "RTX 4070 TI": 11.72,
    "RTX 4070 TI SUPER": 15.69,
    "RTX 4080": 15.69,
    "RTX 4080 SUPER": 15.69,
    "RTX 4090": 23.63,
    "RTX 4090 D": 23.5,
    "RTX 5070 TI": 15.46,
    "RTX 5080": 15.46,
    "RTX 5090": 31.35,
    "RTX 6000 ADA": 47.4,
    "RTX A4000": 15.61,
    "RTX A5000": 23.5,
    "RTX A6000": 47.4,
    "RTX PRO 6000": 94.9,
    "T4": 14.56,
    "T4G": 14.56,
    "TITAN RTX": 23.4,
    # Pascal and Volta: from CUDA 12.8 on PyTorch drops them one by one, and CUDA 13 builds serve none. Builds of
    # PyTorch for CUDA 12.6 still do.
    "P4": 7.4,
    "P100": 15.89,
    "V100": 15.77,
    "V100 32G": 31.73,
}
"""GiB as users' out-of-memory messages quote them."""

NOMINAL = {
    "B300": 288,
    "GB300": 288,
    "GH200 144G": 144,
    "RTX 2000 ADA": 16,
    "RTX 3050": 8,
    "RTX 4000 ADA": 20,
    "RTX 4500 ADA": 24,
    "RTX 5000 ADA": 32,
    "RTX 5060": 8,
    "RTX 5060 TI": 8,
    "RTX 5060 TI 16G": 16,
    "RTX 5070": 12,
    "RTX A2000": 6,
    "RTX A2000 12G": 12,
    "RTX A4500": 20,
    "RTX PRO 4000": 24,
    "RTX PRO 4500": 32,
    "RTX PRO 5000": 48,
}
"""GB on the box of models of which no message was found."""
NOMINAL_ECC = {"A16": 16, "L2": 24, "L20": 48, "RTX 4000": 8, "RTX 5000": 16, "RTX 6000": 24, "RTX 8000": 48}
"""The same for models whose error correction takes a part of the memory. RTX 4000 to 8000 without a generation are the
Quadros: Ray gives their successors of the Ada generation, which have more, the same name."""
OF_NOMINAL, OF_NOMINAL_ECC = 0.92, 0.90
"""What counts of the GB on the box: less than on any model whose messages are known."""

MODELS = {
    **REPORTED,
    **{name: round(OF_NOMINAL * gb, 2) for name, gb in NOMINAL.items()},
    **{name: round(OF_NOMINAL_ECC * gb, 2) for name, gb in NOMINAL_ECC.items()},
}
"""GiB that `torch.cuda.get_device_properties` reports.

Only for plans made elsewhere: the GPU at hand is asked itself. A model that is sold with two memories stands for the
smaller one, unless its name says how many GB.
"""

LIKE_AN_H100 = ("B200", "GB200", "GH200", "H100", "H20", "H200", "H800")
CONTEXTS: dict[str, float] = dict.fromkeys(LIKE_AN_H100, 0.83)
"""GiB of a process's CUDA context with the kernels that a training step loads. Measured on an H100: 0.51 bare, 0.82 in
the end (PyTorch 2.11 for CUDA 13.0, driver 580); eager module loading (CUDA_MODULE_LOADING=EAGER) takes 1.96. It grows
with the multiprocessors: models as large or larger are taken for the same."""

SLICES = {
    5: 4.75,
    6: 5.81,
    10: 9.5,
    12: 10.75,
    18: 16.0,
    20: 19.5,
    23: 20.5,
    24: 20.0,
    35: 32.25,
    36: 35.25,
    40: 39.25,
    45: 44.25,
    47: 45.5,
    71: 69.5,
    80: 78.75,
}
"""GiB of MIG slices by the GB that the profile's name says: the least that `nvidia-smi mig -lgip` prints for any card,
A30 to GB200. An H100's 1g.10gb has 9.62 to 9.75, an A100's 9.5."""
OF_SLICE, OF_VGPU = 0.83, 0.9
"""What counts of the GB in the name of another slice, as of the smallest slice of a GB200, and of a vGPU, computed."""

NOISE = re.compile(
    r"^(NVIDIA|GRID|TESLA|QUADRO|GEFORCE|SXM\d*|PCIE?|HBM\w*|AC|BLACKWELL|GENERATION|SERVER|WORKSTATION|EDITION"
    r"|MAX|Q|GPU|MIG)$"
)
VARIANT = re.compile(r"^(\d+)GB?$|^NVL$")
"""What distinguishes models of one name where `MODELS` lists them separately; elsewhere it is ignored."""
SLICE = re.compile(r"^(?:\d+C\.)?\d+G\.(\d+)GB(?:[+-]\w+)*$")
"""A MIG profile, as in `H100 80GB HBM3 MIG 1g.10gb`."""
VGPU = re.compile(r"^(\d+)[ABCQ]$")
"""The end of a vGPU's name, as in `A10-4Q`: its GB and its kind."""


def canonical_name(name: str) -> str:
    """One name for what PyTorch calls `NVIDIA GeForce RTX 3060` and Ray `GeForce-RTX-3060`.

    Ray names a MIG slice and a vGPU after the whole card: only the names that PyTorch and NVML give distinguish them.

    >>> [canonical_name(name) for name in ("Tesla T4", "NVIDIA A100-SXM4-40GB", "A100-40G", "NVIDIA H100 80GB HBM3")]
    ['T4', 'A100 40G', 'A100 40G', 'H100']
    >>> canonical_name("NVIDIA GeForce RTX 4070 Ti"), canonical_name("NVIDIA A10-4Q")
    ('RTX 4070 TI', 'A10 4Q')
    >>> canonical_name("NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    'H100 MIG 1g.10gb'
    """
    words = [word for word in re.split(r"[\s_-]+", name.strip().upper()) if word and not NOISE.match(word)]
    slices = [word for word in words if SLICE.match(word)]
    words = [word for word in words if word not in slices]
    variants = [re.sub(r"GB$", "G", word) for word in words if VARIANT.match(word)]
    bare = " ".join(word for word in words if not VARIANT.match(word))
    varied = " ".join([bare, *variants]).strip()
    card = varied if varied in MODELS or bare not in MODELS else bare
    return " ".join([card, *(f"MIG {word.lower()}" for word in slices)]).strip()


def gib_of(name: str) -> float | None:
    """GiB that a canonical name stands for; None for an unknown model.

    >>> gib_of("RTX 3060"), gib_of("H100 MIG 1g.10gb"), gib_of("A10 4Q"), gib_of("RTX 306")
    (11.76, 9.5, 3.6, None)
    """
    last = name.upper().split()[-1] if name.split() else ""
    if found := SLICE.match(last):
        gb = int(found[1])
        return SLICES.get(gb, OF_SLICE * gb)
    if name not in MODELS and (found := VGPU.match(last)):
        return OF_VGPU * int(found[1]) or None
    return MODELS.get(name)
