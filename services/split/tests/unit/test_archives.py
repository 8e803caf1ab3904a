"""Archives: what they hold becomes a source; what could do harm refuses all of them, by name."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from splitrail_split import archives, sources
from splitrail_split.archives import ArchiveError, Limits, expand

LIMITS = Limits()
GOOD = {"data.yaml": b"names: [a]", "images/a.jpg": b"jpeg", "labels/a.txt": b"0 0.5 0.5 0.1 0.1\n"}


def zipped(members, **options):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data, **options)
    return target.getvalue()


def tarred(members):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def gzipped(members):
    return gzip.compress(tarred(members), mtime=0)


PACKS = pytest.mark.parametrize(("name", "pack"), [("A.ZIP", zipped), ("a.tar", tarred), ("A.tar.gz", gzipped), ("a.tgz", gzipped)])


def linked(name, type_=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type_, "/etc/passwd"
    return info


def zip_entry(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.fixture
def opened(tmp_path):
    def open_(data, name="a.zip", limits=LIMITS):
        path = tmp_path / "archive"
        path.write_bytes(data)
        return expand(path, name, limits)

    return open_


def refused(opened, data, name="a.zip", limits=LIMITS):
    with pytest.raises(ArchiveError) as raised:
        opened(data, name, limits)
    assert all(not finding.note for finding in raised.value.findings)
    return [(finding.path, finding.code) for finding in raised.value.findings]


@PACKS
def test_members_become_files_that_can_be_read(opened, name, pack):
    found = opened(pack([("README.md", b"x"), ("labels.cache", b"evil"), ("m/best.pt", b"evil"), (".git/a.jpg", b"x"), *GOOD.items()]), name)
    assert {file.path: found.read[file.sha256]() for file in found.files} == GOOD
    assert [(file.path, file.size_bytes, file.is_image) for file in found.files] == [
        ("data.yaml", 10, False),
        ("images/a.jpg", 4, True),
        ("labels/a.txt", 18, False),
    ]
    assert [(note.path, note.code, note.note) for note in found.notes] == [
        ("labels.cache", "file_ignored", True),
        ("m/best.pt", "file_ignored", True),
        ("", "file_ignored", True),
    ]


@PACKS
def test_the_folder_that_an_archive_is_named_after_is_the_source(opened, name, pack):
    stem = name.split(".")[0]
    beside = [(".git/a.jpg", b"x"), ("README.md", b"x"), ("best.pt", b"x")]
    assert {file.path for file in opened(pack([(f"{stem}/{path}", data) for path, data in GOOD.items()] + beside), name).files} == GOOD.keys()
    for other in ("b/", f"{stem}b/", f"{stem}.zip/"):
        assert {file.path for file in opened(pack([(other + path, data) for path, data in GOOD.items()]), name).files} == {
            other + one for one in GOOD
        }
    split = {f"{stem}/data.yaml": b"names: [a]", "images/a.jpg": b"jpeg"}
    assert {file.path for file in opened(pack(split.items()), name).files} == split.keys()


@PACKS
@pytest.mark.parametrize(
    ("member", "code"),
    [
        ("../a.jpg", archives.UNSAFE_PATH),
        ("a/../../b.jpg", archives.UNSAFE_PATH),
        ("/etc/a.jpg", archives.UNSAFE_PATH),
        ("a\\..\\b.jpg", archives.UNSAFE_PATH),
        ("C:/a.jpg", archives.UNSAFE_PATH),
        ("a\n.jpg", archives.UNSAFE_PATH),
        ("../evil.cache", archives.UNSAFE_PATH),
        ("inner.zip", archives.NESTED_ARCHIVE),
        ("inner.tar.gz", archives.NESTED_ARCHIVE),
        ("images/A.JPG", archives.DUPLICATE_PATH),
        ("images/a.jpg", archives.DUPLICATE_PATH),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_refuse_all(opened, name, pack, member, code):
    assert refused(opened, pack([*GOOD.items(), (member, b"x")]), name) == [(member, code)]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_special_files_in_a_zip(opened, kind):
    assert refused(opened, zipped([*GOOD.items(), (zip_entry("images/b.jpg", kind | 0o777), b"/etc/passwd")])) == [("images/b.jpg", archives.LINK)]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])
def test_special_files_in_a_tar(opened, kind):
    assert refused(opened, tarred([*GOOD.items(), (linked("images/b.jpg", kind), b"")]), "a.tar") == [("images/b.jpg", archives.LINK)]


def test_names_that_are_not_utf8(opened):
    data = zipped([("images/\u00e9.jpg", b"x")]).replace("\u00e9".encode(), b"\xff\xfe")
    assert refused(opened, data) == [("", "not_utf8")]
    unflagged = zipped([("images/xx.jpg", b"x")]).replace(b"xx.jpg", b"\xff\xfe.jpg")
    assert [code for _, code in refused(opened, unflagged)] == ["not_utf8"]
    assert opened(zipped([("images/xx.jpg", b"x")]).replace(b"xx.jpg", "\u00e9".encode() + b".jpg")).files[0].path == "images/\u00e9.jpg"
    assert [code for _, code in refused(opened, tarred([(os.fsdecode(b"images/\xff.jpg"), b"x")]), "a.tar")] == ["not_utf8"]


def test_bombs(opened):
    assert refused(opened, zipped([("a.txt", b"0" * 70_000_000)])) == [("", archives.ARCHIVE_LIMIT)]
    assert opened(zipped([("a.txt", b"0" * 1_000_000)])).files[0].size_bytes == 1_000_000
    assert refused(opened, gzip.compress(bytes(70_000_000)), "a.tar.gz") == [("", archives.ARCHIVE_LIMIT)]
    assert refused(opened, gzipped([("a.txt", b"x" * 9000)]), "a.tgz", Limits(tar_bytes=9000)) == [("", archives.ARCHIVE_LIMIT)]
    assert refused(opened, zipped([(f"{n}.txt", b"") for n in range(20)]), limits=Limits(members=19)) == [("", archives.ARCHIVE_LIMIT)]
    assert refused(opened, tarred([(f"{n}.txt", b"") for n in range(20)]), "a.tar", Limits(members=19)) == [("", archives.ARCHIVE_LIMIT)]
    assert refused(opened, tarred([("a.txt", b"0" * 2000)]), "a.tar", Limits(total_bytes=1000)) == [("", archives.ARCHIVE_LIMIT)]


def test_a_directory_that_claims_to_be_huge_is_not_read(opened):
    data = bytearray(zipped(GOOD.items()))
    struct.pack_into("<L", data, len(data) - 10, 0xFFFFFFF0)
    assert refused(opened, bytes(data)) == [("", archives.ARCHIVE_LIMIT)]


def test_a_member_larger_than_it_may_be(opened, monkeypatch):
    monkeypatch.setattr(sources, "MAX_IMAGE_BYTES", 10)
    assert refused(opened, zipped([("a.jpg", b"x" * 11)])) == [("a.jpg", archives.ARCHIVE_LIMIT)]


def test_a_member_that_lies_about_its_size_or_content(opened):
    good = zipped([("a.jpg", b"x" * 100)])
    at = good.rindex(b"PK\x01\x02")
    for offset, value in ((24, 1000), (24, 10), (16, 7)):  # uncompressed size, CRC
        data = bytearray(good)
        struct.pack_into("<L", data, at + offset, value)
        assert [code for _, code in refused(opened, bytes(data))] == [archives.BAD_ARCHIVE]


def test_an_encrypted_member(opened):
    data = bytearray(zipped([("a.jpg", b"x")]))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    assert refused(opened, bytes(data)) == [("a.jpg", archives.BAD_ARCHIVE)]


@pytest.mark.parametrize(("pack", "name"), [(zipped, "a.zip"), (tarred, "a.tar"), (gzipped, "a.tgz")])
def test_an_archive_that_ends_early_is_refused_wherever(opened, pack, name):
    data = pack(GOOD.items()).rstrip(b"\0") if pack is tarred else pack(GOOD.items())
    for end in range(0, len(data), 7):
        refused(opened, data[:end], name)
    refused(opened, b"not an archive", name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(["a.zip", "a.tar"]), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_bytes_are_refused_or_read_and_never_raise_otherwise(opened, name, changes):
    data = bytearray((zipped if name == "a.zip" else tarred)(GOOD.items()))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        found = opened(bytes(data), name)
    except ArchiveError:
        return
    assert all(sources.path_problem(file.path) is None for file in found.files)


def test_what_lies_behind_a_tar_gz(opened):
    data = gzipped(GOOD.items())
    assert len(opened(data + bytes(5000), "a.tar.gz").files) == len(GOOD)  # as tapes pad it
    for more in (b"x", bytes(5000) + b"x", data, gzip.compress(b"") * 1000):
        assert refused(opened, data + more, "a.tar.gz") == [("", archives.BAD_ARCHIVE)]


def test_no_room_for_a_tar_gz_is_no_fault_of_it(opened, tmp_path):
    (tmp_path / "archive.tar").mkdir()
    with pytest.raises(OSError, match=r"archive\.tar"):
        opened(gzipped(GOOD.items()), "a.tgz")
