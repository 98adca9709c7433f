"""README.md of an ensemble folder: what the model is, what it learned from, how good it was found to be and what it is not for.

After Mitchell et al., FAT* 2019.  Everything in it comes from the manifest and the data set; nothing is written by hand.
"""

import shutil
from collections import Counter
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from ceph_core import __version__
from ceph_core.data.films import TrainingData
from ceph_core.inference.manifest import Manifest

CARD_FILE, EXAMPLE_FILE = "README.md", "use_onnx.py"


def write_card(folder: Path, name: str, manifest: Manifest, data: TrainingData, radius: str = "") -> None:
    """Write the card, and the example that goes with the ONNX file.

    Args:
        folder: of the ensemble.
        name: of the run.
        manifest: with the figures of the locked test.
        radius: what the points' radii were found to hold.
    """
    records = data.dataset.records
    devices = Counter(record.device for record in records if record.device)
    spacings = sorted({each for record in records for each in record.spacing_mm})
    readers = sorted({reader for record in records for reader in record.annotators})
    text = _template().render(
        name=name,
        members=manifest.members,
        protocol=manifest.protocol,
        created=manifest.created[:10],
        version=__version__,
        data_name=data.dataset.name,
        fingerprint=manifest.data_fingerprint,
        films={split: len(data.splits.ids(split)) for split in ("train", "validation", "test")},
        devices=", ".join(f"{device} ({count} films)" for device, count in devices.most_common()),
        spacing=f"{spacings[0]:.3g}" if len(spacings) == 1 else f"{spacings[0]:.3g} to {spacings[-1]:.3g}",
        notes=data.splits.notes,
        rows=[_row(who, found) for who, found in manifest.figures.get("test", {}).items()],
        radius=radius,
        readers=f"readers {' and '.join(readers)} marked" if readers else "the data set says",
        landmarks=list(zip(manifest.protocol.symbols, manifest.protocol.names, strict=True)),
    )
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    shutil.copyfile(str(files("ceph_core.inference").joinpath(EXAMPLE_FILE)), folder / EXAMPLE_FILE)


def _row(who: str, found: dict[str, Any]) -> dict[str, str]:
    low, high = found["mre_interval_mm"]
    return {
        "name": who, "mre": f"{found['mre_mm']:.2f}", "low": f"{low:.2f}", "high": f"{high:.2f}",
        "sdr_2": f"{found['sdr_2mm']:.1f}", "sdr_4": f"{found['sdr_4mm']:.1f}",
    }  # fmt: skip


@lru_cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("ceph_core.inference").joinpath("model_card.md.j2").read_text(encoding="utf-8"))
