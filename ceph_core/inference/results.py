"""The folder that `predict` leaves: points in the files asked for and one overlay a film; all of it or nothing."""

import contextlib
import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ceph_core.data.parallel import num_threads
from ceph_core.inference import overlay
from ceph_core.inference.measurement_files import FILE as MEASUREMENTS
from ceph_core.inference.measurement_files import write_measurements
from ceph_core.inference.point_files import WRITERS, FilmPoints
from ceph_core.inference.predictor import Prediction
from ceph_core.inference.refine import Action, Review
from ceph_core.landmarks import Protocol
from ceph_core.measurements import Definitions

DEFAULT_FILES = ("csv", "json")


class ResultFolder:
    """Collects predictions beside the folder and moves them into it when the block ends well.

    Args:
        folder: where the files go; files of the same names are replaced, others stay.
        protocol: the landmarks' symbols and names.
        files: what is written of the points, names of `WRITERS`.
        overlays: draw a picture a film, in threads.
        definitions: of what is measured; None: nothing is.
    """

    def __init__(
        self,
        folder: Path,
        protocol: Protocol,
        files: Sequence[str] = DEFAULT_FILES,
        overlays: bool = True,
        definitions: Definitions | None = None,
    ) -> None:
        self.folder, self.protocol, self.overlays = folder, protocol, overlays
        self.num_flagged = 0
        self._definitions = definitions
        self._files = tuple(dict.fromkeys(files))
        self._pool = ThreadPoolExecutor(num_threads())
        self._drawing: deque[Future[None]] = deque()
        self._films: list[FilmPoints] = []
        self._names: set[str] = set()

    def __enter__(self) -> "ResultFolder":
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._fresh = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        return self

    @property
    def films(self) -> tuple[FilmPoints, ...]:
        """What was added so far."""
        return tuple(self._films)

    @property
    def main_file(self) -> Path:
        """The first of the files asked for."""
        return self.folder / WRITERS[self._files[0]][0]

    def add(
        self,
        path: Path,
        film: NDArray[np.uint8],
        prediction: Prediction,
        spacing_mm: tuple[float, float] | None = None,
        radius_mm: NDArray[np.float64] | None = None,
        review: Review | None = None,
        action: Action = "flag",
    ) -> None:
        """One film's landmarks; its overlay is drawn while others are predicted.

        Args:
            path: the film's file.
            film: (h, w) grey values.
            prediction: what the network found.
            spacing_mm: (x, y) mm per original px; None: not known.
            radius_mm: (K,) around the points; None: not known.
            review: of this film alone; None: nobody looked for points to flag.
            action: what becomes of a flagged point.
        """
        points, suspect, reasons = prediction.points_px, None, None
        if review is not None:
            points, reasons = review.apply(points[None], action)[0], review.reasons(0)
            self.num_flagged += int(review.flagged.sum())
            suspect = np.where(review.flagged[0][:, None], prediction.points_px, np.nan)
        name = self._overlay_name(path) if self.overlays else None
        if name:
            radius_px = None if radius_mm is None or spacing_mm is None else radius_mm / np.sqrt(np.prod(spacing_mm))
            if len(self._drawing) >= 2 * num_threads():  # each holds its film
                self._drawing.popleft().result()
            self._drawing.append(self._pool.submit(self._draw, self._fresh / name, film, points, suspect, radius_px))
        size = (film.shape[0], film.shape[1])
        self._films.append(FilmPoints(path, size, spacing_mm, points, prediction.confidence, radius_mm, reasons, name))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                for drawing in self._drawing:
                    drawing.result()
                for file in self._files:
                    name, write = WRITERS[file]
                    write(self._fresh / name, self.protocol, self._films)
                if self._definitions is not None:
                    write_measurements(self._fresh / MEASUREMENTS, self.protocol, self._films, self._definitions)
                self.folder.mkdir(exist_ok=True)
                for made in sorted(self._fresh.iterdir()):
                    made.replace(self.folder / made.name)
        finally:
            self._pool.shutdown(cancel_futures=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._fresh)

    def _draw(
        self,
        file: Path,
        film: NDArray[np.uint8],
        points_px: NDArray[np.float64],
        suspect_px: NDArray[np.float64] | None,
        radius_px: NDArray[np.float64] | None,
    ) -> None:
        overlay.write(file, overlay.draw(film, points_px, self.protocol.symbols, suspect_px=suspect_px, radius_px=radius_px))

    def _overlay_name(self, path: Path) -> str:
        """`<stem>_overlay.png`; films of one stem in several folders are numbered."""
        name, number = f"{path.stem}_overlay.png", 1
        while name in self._names:
            number += 1
            name = f"{path.stem}_{number}_overlay.png"
        self._names.add(name)
        return name
