"""Films that the pages speak of as the reader's own: drawn heads and a table of points, `python -m tests.docs.made_films FOLDER`."""

import argparse
from pathlib import Path

import cv2
import pandas as pd

from ceph_core.data.phantom import draw
from ceph_core.landmarks import ISBI19

SEED = 11


def rows(folder: Path, count: int) -> pd.DataFrame:
    """Write the films."""
    found = []
    for number in range(count):
        film, points, spacing_mm = draw(SEED, number)
        name = f"film{number + 1:03d}.png"
        cv2.imwrite(str(folder / name), film)
        row = {"image": name, "spacing": spacing_mm, "group": f"patient{number // 2 + 1:02d}"}
        for symbol, point in zip(ISBI19.symbols, points, strict=True):
            row |= {f"{symbol}_x": round(float(point[0]), 2), f"{symbol}_y": round(float(point[1]), 2)}
        found.append(row)
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--flawed", action="store_true", help="a film without a file, one without mm a pixel, a point that is no number")
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    table = rows(args.folder, args.count)
    table.loc[1, ["Go_x", "Go_y"]] = None  # nobody marked it
    if args.flawed:
        table = table.astype({"S_x": object})
        table.loc[2, "image"] = "film999.png"
        table.loc[3, "spacing"] = None
        table.loc[4, "S_x"] = "left"
    table.to_csv(args.folder / "points.csv", index=False)


if __name__ == "__main__":
    main()
