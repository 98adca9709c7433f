"""Landmarks of films by ensemble.onnx alone: needs onnxruntime, NumPy and Pillow, and nothing else of the project.

python use_onnx.py FILM... [--spacing-mm X]        writes a CSV to stdout: file, landmark, x_px, y_px, confidence, radius_mm

x runs right, y down, pixel centres lie on whole numbers.  radius_mm holds the true point in at least nine cases of ten; it is not
scaled by anything and stays empty where calibration.json is not there.  With --spacing-mm (mm per pixel) x_mm and y_mm are added.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

Image.MAX_IMAGE_PIXELS = None  # detectors deliver 95 million


def read_film(path: str) -> np.ndarray:
    """(h, w) uint8 grey in stored orientation: colour becomes luma, 16 bits are stretched between their 0.1 and 99.9 % levels."""
    with Image.open(path) as image:
        if image.mode.startswith("I"):
            film = np.asarray(image).astype(np.float32)
            low, high = np.percentile(film, (0.1, 99.9))
            return np.asarray(np.clip(np.rint((film - low) * (255 / max(high - low, 1))), 0, 255), dtype=np.uint8)
        return np.asarray(image.convert("L"))


def radii(folder: Path, confidence: np.ndarray) -> np.ndarray:
    """(K,) mm around points of these confidences; NaN where nobody calibrated the model."""
    file = folder / "calibration.json"
    if not file.is_file():
        return np.full(len(confidence), np.nan)
    told = json.loads(file.read_text(encoding="utf-8"))
    usual = np.exp(np.array(told["intercepts"]) + told["slope"] * np.log(np.maximum(confidence, 1e-3)))
    score = np.interp(0.9, np.linspace(0, 1, len(told["scores"])), told["scores"])
    return np.asarray(usual * score * told["inflation"])


def main() -> None:
    """Read films, write points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="+", metavar="FILM")
    parser.add_argument("--spacing-mm", type=float, metavar="X", help="mm per pixel of the films")
    args = parser.parse_args()
    folder = Path(__file__).resolve().parent
    session = onnxruntime.InferenceSession(str(folder / "ensemble.onnx"), providers=["CPUExecutionProvider"])
    symbols = json.loads(session.get_modelmeta().custom_metadata_map["landmarks"])
    writer = csv.writer(sys.stdout, lineterminator="\n")
    mm = [] if args.spacing_mm is None else ["x_mm", "y_mm"]
    writer.writerow(["file", "landmark", "x_px", "y_px", "confidence", "radius_mm", *mm])
    for path in args.films:
        points, confidence = session.run(["points_px", "confidence"], {"film": read_film(path)})
        for symbol, (x, y), sure, radius in zip(symbols, points, confidence, radii(folder, confidence), strict=True):
            scaled = [] if args.spacing_mm is None else [f"{x * args.spacing_mm:.3f}", f"{y * args.spacing_mm:.3f}"]
            writer.writerow([path, symbol, f"{x:.2f}", f"{y:.2f}", f"{sure:.4f}", "" if np.isnan(radius) else f"{radius:.2f}", *scaled])


if __name__ == "__main__":
    main()
