"""Exports as a client takes them, and versions that are hard to export."""

import json
import re
from types import SimpleNamespace

import httpx
from splitrail.split.v1 import dataset_pb2, export_service_pb2, export_service_pb2_grpc, split_service_pb2, version_pb2

from .calls import sha

YOLO, COCO = export_service_pb2.EXPORT_FORMAT_YOLO, export_service_pb2.EXPORT_FORMAT_COCO
CLASSES = ["b/c", "b_c", "CON", "train", "images", "no", "Cat", "cat", "unused"]


async def messages(api, **fields):
    stub = export_service_pb2_grpc.ExportServiceStub(api.channel)
    request = export_service_pb2.ExportVersionRequest(**fields)
    return [message async for message in stub.ExportVersion(request, metadata=api.metadata, timeout=60)]


async def export(api, **fields):
    """An export: its files by path, its start, its end, its messages."""
    sent = await messages(api, **fields)
    files, order = {}, []
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        for message in sent:
            for file in message.files:
                data = file.data if file.HasField("data") else (await http.get(file.url)).content
                files[file.path] = files.get(file.path, b"") + data
                if not file.more:
                    assert (sha(files[file.path]), len(files[file.path])) == (file.sha256, file.size_bytes)
                    order.append(file.path)
    assert len(set(order)) == len(order)
    assert sent[0].HasField("start")
    assert sent[-1].HasField("end")
    return SimpleNamespace(files=files, order=order, start=sent[0].start, end=sent[-1].end, messages=sent)


async def current_split(api, version):
    return (await api.call(api.splits.GetSplit, split_service_pb2.GetSplitRequest(version_id=version.version_id))).split


def hostile(sources):
    """A COCO source whose names of files and classes are what nobody would wish for."""
    classes = ["no", "a\nb: c", "../../up", '"quoted"', "中文🙂", "!!python/name:os.system", "-", "{x}"]
    paths = [
        "images/train/a.jpg",
        "images/val/A.JPG",
        "val/a.jpg",
        "images/a~1.jpg",
        "images/aux.jpg",
        "images/é.jpg",
        "images/e\u0301.jpg",
        "images/- x: [y].jpg",
        "images/images/labels/deep.jpg",
        "images/🙂 '\"$(touch x).jpg",
        "images/unlabelled.jpg",
        "images/empty.jpg",
    ]
    images = [
        {"id": n, "file_name": path, "width": 64, "height": 48}
        for n, path in enumerate(paths)
        if "unlabelled" not in path
    ]
    boxes = [
        [0, 0, 64, 48],
        [63.9, 47.9, 0.2, 0.3],
        [0.0001, 0.0001, 0.0002, 0.0002],
        [1 / 3, 2 / 7, 31.4159, 27.1828],
        [-5, -5, 20, 20],
    ]
    annotations = [
        {"id": n, "image_id": n % len(paths), "category_id": n % len(classes), "bbox": boxes[n % len(boxes)]}
        for n in range(60)
        if not any(word in paths[n % len(paths)] for word in ("labelled", "empty"))
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(classes)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    return {
        **{path: sources.picture(n) for n, path in enumerate(paths)},
        "instances.json": json.dumps(document).encode(),
    }


def names_of_images(exported):
    """Paths of images, without the numbers that tell those of the same name apart."""
    return sorted(re.sub(r"~\d+\.", ".", path) for path in exported.files if path.endswith(".jpg"))


async def classified(api, sources):
    """A version of classes of whole images that are not in the order of their names, one of them without images, with
    images in every state.
    """
    dataset = await api.dataset(task=dataset_pb2.TASK_CLASSIFY)
    draft = await api.draft(dataset.dataset_id, class_names=CLASSES)
    pictures = [sources.picture(number) for number in range(48)]
    await api.send(pictures)
    entries = []
    for number, data in enumerate(pictures):
        class_id = number % (len(CLASSES) - 1)
        name = f"{'cat/' if number % 3 else ''}{number // 2 % 20}.{'jpg' if number % 2 else 'png'}"
        entry = {"sha256": sha(data), "path": f"site{number // 16}/{name}"}
        if number < 40:
            entry["annotations"] = version_pb2.AnnotationList(items=[dataset_pb2.Annotation(class_id=class_id)])
        else:
            entry["label_state"] = dataset_pb2.LABEL_STATE_EMPTY if number % 2 else dataset_pb2.LABEL_STATE_UNLABELLED
        entries.append(entry)
    await api.upsert(draft.version_id, *entries)
    return await api.commit(draft.version_id)
