"""What `predict` writes: `points.csv`, `points.json` and one overlay a film; all of it or nothing."""

import contextlib
import csv
import json
import shutil
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceph_core.data.parallel import num_threads
from ceph_core.inference import overlay
from ceph_core.inference.predictor import Prediction
from ceph_core.inference.refine import Action, Review
from ceph_core.landmarks import Protocol

COLUMNS = ("file", "landmark", "name", "x_px", "y_px", "x_mm", "y_mm", "confidence", "review")


class ResultFolder:
    """Collects predictions beside the folder and moves them into it when the block ends well.

    Args:
        folder: where the files go; files of the same names are replaced, others stay.
        protocol: the landmarks' symbols and names.
        spacing_mm: mm per original px; None leaves mm empty (null in JSON).
        overlays: draw a picture a film, in threads.
    """

    def __init__(self, folder: Path, protocol: Protocol, spacing_mm: float | None, overlays: bool = True) -> None:
        self.folder, self.protocol, self.spacing_mm, self.overlays = folder, protocol, spacing_mm, overlays
        self.num_flagged = 0
        self._pool = ThreadPoolExecutor(num_threads())
        self._drawing: deque[Future[None]] = deque()
        self._films: list[dict[str, Any]] = []
        self._names: set[str] = set()

    def __enter__(self) -> "ResultFolder":
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._fresh = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        return self

    def add(
        self, path: Path, film: NDArray[np.uint8], prediction: Prediction, review: Review | None = None, action: Action = "flag"
    ) -> None:
        """One film's landmarks; its overlay is drawn while others are predicted.

        Args:
            path: the film's file.
            film: (h, w) grey values.
            prediction: what the network found.
            review: of this film alone; None: nobody looked for points to flag.
            action: what becomes of a flagged point.
        """
        points, suspect = prediction.points_px, None
        reasons: tuple[str | None, ...] = (None,) * len(self.protocol)
        if review is not None:
            points, reasons = review.apply(points[None], action)[0], review.reasons(0)
            self.num_flagged += int(review.flagged.sum())
            suspect = np.where(review.flagged[0][:, None], prediction.points_px, np.nan)
        name = self._overlay_name(path) if self.overlays else None
        if name:
            if len(self._drawing) >= 2 * num_threads():  # each holds its film
                self._drawing.popleft().result()
            self._drawing.append(self._pool.submit(self._draw, self._fresh / name, film, points, suspect))
        landmarks = []
        for symbol, words, point, confidence, reason in zip(
            self.protocol.symbols, self.protocol.names, points.tolist(), prediction.confidence.tolist(), reasons, strict=True
        ):
            # A dropped point has neither px nor mm.
            x, y = (None, None) if np.isnan(point).any() else (round(each, 2) for each in point)
            known = x is not None and self.spacing_mm is not None
            mm_x, mm_y = (round(each * self.spacing_mm, 3) for each in point) if known and self.spacing_mm else (None, None)
            figures = {"x_px": x, "y_px": y, "x_mm": mm_x, "y_mm": mm_y, "confidence": round(confidence, 4), "review": reason}
            landmarks.append({"landmark": symbol, "name": words, **figures})
        self._films.append({"file": str(path), "height": film.shape[0], "width": film.shape[1], "overlay": name, "landmarks": landmarks})

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                for drawing in self._drawing:
                    drawing.result()
                self._write_tables()
                self.folder.mkdir(exist_ok=True)
                for file in sorted(self._fresh.iterdir()):
                    file.replace(self.folder / file.name)
        finally:
            self._pool.shutdown(cancel_futures=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._fresh)

    def _draw(self, file: Path, film: NDArray[np.uint8], points_px: NDArray[np.float64], suspect_px: NDArray[np.float64] | None) -> None:
        overlay.write(file, overlay.draw(film, points_px, self.protocol.symbols, suspect_px=suspect_px))

    def _write_tables(self) -> None:
        with (self._fresh / "points.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({"file": film["file"], **landmark} for film in self._films for landmark in film["landmarks"])
        whole = {
            "protocol": self.protocol.name,
            "frame": "original pixels, x then y, pixel centres on whole numbers; mm = px * spacing_mm",
            "spacing_mm": self.spacing_mm,
            "films": self._films,
        }
        (self._fresh / "points.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _overlay_name(self, path: Path) -> str:
        """`<stem>_overlay.png`; films of one stem in several folders are numbered."""
        name, number = f"{path.stem}_overlay.png", 1
        while name in self._names:
            number += 1
            name = f"{path.stem}_{number}_overlay.png"
        self._names.add(name)
        return name
