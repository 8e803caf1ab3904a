"""Sources made for tests: path -> bytes."""

import io
import json
import random
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw


def picture(number: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A JPEG that no other number gives."""
    image = Image.new("RGB", size, (number % 251, number // 251 % 251, 90))
    draw = ImageDraw.Draw(image)
    draw.rectangle((number % 40, number % 30, number % 40 + 12, number % 30 + 10), fill=(200, number % 256, 20))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=92, comment=str(number).encode())
    return target.getvalue()


def yolo(count: int = 20, classes: int = 3, start: int = 0) -> dict[str, bytes]:
    """A YOLO source: every tenth image is reviewed and empty, every tenth but one is unlabelled."""
    names = "".join(f"  {index}: class{index}\n" for index in range(classes))
    files = {"data.yaml": f"path: .\ntrain: images\nnames:\n{names}".encode()}
    for number in range(start, start + count):
        files[f"images/{number:05}.jpg"] = picture(number)
        rows = "".join(f"{(number + k) % classes} 0.5 0.5 0.{k + 2} 0.25\n" for k in range(1 + number % 2))
        if number % 10 == 0:
            files[f"labels/{number:05}.txt"] = b""
        elif number % 10 != 9:
            files[f"labels/{number:05}.txt"] = rows.encode()
    return files


def voc(count: int, degenerate: int = 0, start: int = 0) -> dict[str, bytes]:
    """A Pascal VOC source of blood cells; the first `degenerate` files carry a box without area besides a good one."""
    generator = random.Random(count)
    files = {}
    for number in range(start, start + count):
        boxes = [(generator.choice(["RBC", "WBC", "Platelets"]), 5, 5, 20 + number % 20, 30)]
        if number - start < degenerate:
            boxes.append(("RBC", 10, 10, 10, 20))
        objects = "".join(
            f"<object><name>{escape(name)}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
            for name, a, b, c, d in boxes
        )
        size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
        files[f"JPEGImages/cell_{number:05}.jpg"] = picture(number)
        files[f"Annotations/cell_{number:05}.xml"] = (
            f"<annotation><filename>cell_{number:05}.jpg</filename>{size}{objects}</annotation>".encode()
        )
    return files


def coco(count: int, absent: int = 0) -> dict[str, bytes]:
    """A COCO source whose JSON names `absent` images that are not there."""
    images = [{"id": n, "file_name": f"{n:05}.jpg", "width": 64, "height": 48} for n in range(count + absent)]
    annotations = [{"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [4, 4, 20, 20]} for n in range(count)]
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "ring"}, {"id": 2, "name": "disc"}],
    }
    files = {f"images/{n:05}.jpg": picture(n) for n in range(count)}
    return {**files, "annotations/instances.json": json.dumps(document).encode()}


@dataclass(frozen=True)
class Sources:
    """Generated sources, path -> bytes."""

    picture = staticmethod(picture)
    yolo = staticmethod(yolo)
    voc = staticmethod(voc)
    coco = staticmethod(coco)

    @staticmethod
    def folder(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
