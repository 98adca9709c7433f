"""Draw the picture of four phantom films with their landmarks, and say how fast films are drawn.

python benchmarks/phantom_sheet.py docs/phantom.png
"""

import sys
import time

import cv2
import numpy as np

from ceph_core.data.phantom import draw
from ceph_core.landmarks import ISBI19

SEED, FILMS = 7, (0, 1, 2, 3)
HEIGHT = 640
CYAN, WHITE = (230, 200, 40), (255, 255, 255)


def marked(film: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """The film in colour at HEIGHT, every landmark a dot with its symbol."""
    scale = HEIGHT / film.shape[0]
    sheet = cv2.cvtColor(cv2.resize(film, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR)
    for symbol, point in zip(ISBI19.symbols, (points_px + 0.5) * scale - 0.5, strict=True):
        centre = tuple(int(v) for v in np.round(point * 16))
        cv2.circle(sheet, centre, 3 * 16, (0, 0, 0), 1, cv2.LINE_AA, 4)
        cv2.circle(sheet, centre, 2 * 16, CYAN, -1, cv2.LINE_AA, 4)
        behind = symbol in {"S", "PNS", "Go", "Ar", "Po", "A", "B", "Pog", "LIT", "Me"}
        place = (int(point[0]) - (7 + 8 * len(symbol) if behind else -8), int(point[1]) + (12 if symbol in {"Me", "Gn"} else 4))
        cv2.putText(sheet, symbol, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(sheet, symbol, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, WHITE, 1, cv2.LINE_AA)
    return sheet


if __name__ == "__main__":
    cv2.setNumThreads(1)
    start = time.process_time()
    films = [draw(SEED, index) for index in FILMS]
    seconds = (time.process_time() - start) / len(FILMS)
    cv2.imwrite(sys.argv[1], np.hstack([marked(film, points_px) for film, points_px, _ in films]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{60 / seconds:.0f} films a minute on one core")
