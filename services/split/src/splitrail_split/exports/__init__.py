"""Versions as folders that other tools read: `names` and `layout` say where things lie, `yolo` and `coco` what stands
in them.
"""
