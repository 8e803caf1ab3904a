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
from splitrail_split.imports import archives, sources
from splitrail_split.imports.archives import ArchiveError, Limits, expand

LIMITS = Limits()
GOOD = {"data.yaml": b"names: [a]", "images/a.jpg": b"jpeg", "labels/a.txt": b"0 0.5 0.5 0.1 0.1\n"}


def zipped(members, **options):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data, **options)
    return target.getvalue()


def tarred(members, format_=tarfile.GNU_FORMAT):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format_, errors="surrogateescape") as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def pax_tarred(members):
    return tarred([("\u00e9" * 60 + "/" + name, data) for name, data in members], tarfile.PAX_FORMAT)


def gzipped(members):
    return gzip.compress(tarred(members), mtime=0)


PACKS = pytest.mark.parametrize(
    ("name", "pack"), [("A.ZIP", zipped), ("a.tar", tarred), ("A.tar.gz", gzipped), ("a.tgz", gzipped)]
)


def headed(*headers):
    """A tar by hand, of (type, name, what follows the header, the size it claims or None for the true one)."""
    blocks = b""
    for type_, name, data, size in headers:
        info = tarfile.TarInfo(name)
        info.type, info.size = type_, len(data) if size is None else size
        blocks += info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
    return blocks + bytes(1024)


def pax(**records):
    """Records of a pax header, by keyword; `__` stands for a dot."""
    lines = b""
    for key, value in records.items():
        rest = f" {key.replace('__', '.')}={value}\n"
        length = next(n for n in range(len(rest) + 1, len(rest) + 9) if len(str(n)) + len(rest) == n)
        lines += f"{length}{rest}".encode()
    return lines


A_MEMBER = (tarfile.REGTYPE, "images/a.jpg", b"jpeg", None)
EXTENDED = pytest.mark.parametrize(
    "type_",
    [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK],
)


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
    found = opened(
        pack(
            [
                ("README.md", b"x"),
                ("labels.cache", b"evil"),
                ("m/best.pt", b"evil"),
                (".git/a.jpg", b"x"),
                *GOOD.items(),
            ]
        ),
        name,
    )
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
    assert {
        file.path
        for file in opened(pack([(f"{stem}/{path}", data) for path, data in GOOD.items()] + beside), name).files
    } == GOOD.keys()
    for other in ("b/", f"{stem}b/", f"{stem}.zip/"):
        assert {
            file.path for file in opened(pack([(other + path, data) for path, data in GOOD.items()]), name).files
        } == {other + one for one in GOOD}
    split = {f"{stem}/data.yaml": b"names: [a]", "images/a.jpg": b"jpeg"}
    assert {file.path for file in opened(pack(split.items()), name).files} == split.keys()


@PACKS
@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("data.yaml", b"names: [a]\ntrain: cells/images"),
        ("data.yml", b"{val: [x, '../cells/images'], names: [a]}"),
        ("train.txt", b"cells/images/a.jpg\n"),
        ("train.txt", b"images/b.jpg\n./cells/images/a.jpg\n"),
        ("train.txt", b"..\\cells\\images\\a.jpg\r\n"),
    ],
)
def test_that_folder_stays_when_a_list_in_it_names_it(opened, name, pack, listed, text):
    ending = name[1:]
    files = {f"cells/{path}": data for path, data in {**GOOD, listed: text}.items()}
    assert {file.path for file in opened(pack(files.items()), f"cells{ending}").files} == files.keys()
    elsewhere = text.replace(b"cells", b"/data/cells")  # a path of another machine, which does not begin here
    for path, data in (
        (listed, elsewhere),
        (listed, text.replace(b"cells", b"mycells")),
        (f"deep/{listed}", text),
        ("big.txt", text.ljust(2**20 + 1)),
    ):
        found = opened(
            pack([(f"cells/{one}", content) for one, content in {**GOOD, path: data}.items()]), f"cells{ending}"
        ).files
        assert {file.path for file in found} == {*GOOD, path}


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
    assert refused(opened, zipped([*GOOD.items(), (zip_entry("images/b.jpg", kind | 0o777), b"/etc/passwd")])) == [
        ("images/b.jpg", archives.LINK)
    ]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_special_files_in_a_tar(opened, kind):
    assert refused(opened, tarred([*GOOD.items(), (linked("images/b.jpg", kind), b"")]), "a.tar") == [
        ("images/b.jpg", archives.LINK)
    ]


def test_names_that_are_not_utf8(opened):
    data = zipped([("images/\u00e9.jpg", b"x")]).replace("\u00e9".encode(), b"\xff\xfe")
    assert refused(opened, data) == [("", "not_utf8")]
    unflagged = zipped([("images/xx.jpg", b"x")]).replace(b"xx.jpg", b"\xff\xfe.jpg")
    assert [code for _, code in refused(opened, unflagged)] == ["not_utf8"]
    assert (
        opened(zipped([("images/xx.jpg", b"x")]).replace(b"xx.jpg", "\u00e9".encode() + b".jpg")).files[0].path
        == "images/\u00e9.jpg"
    )
    assert [code for _, code in refused(opened, tarred([(os.fsdecode(b"images/\xff.jpg"), b"x")]), "a.tar")] == [
        "not_utf8"
    ]


def test_bombs(opened):
    assert refused(opened, zipped([("a.txt", b"0" * 70_000_000)])) == [("", archives.ARCHIVE_LIMIT)]
    assert opened(zipped([("a.txt", b"0" * 1_000_000)])).files[0].size_bytes == 1_000_000
    assert refused(opened, gzip.compress(bytes(70_000_000)), "a.tar.gz") == [("", archives.ARCHIVE_LIMIT)]
    assert refused(opened, gzipped([("a.txt", b"x" * 9000)]), "a.tgz", Limits(tar_bytes=9000)) == [
        ("", archives.ARCHIVE_LIMIT)
    ]
    assert refused(opened, zipped([(f"{n}.txt", b"") for n in range(20)]), limits=Limits(members=19)) == [
        ("", archives.ARCHIVE_LIMIT)
    ]
    assert refused(opened, tarred([(f"{n}.txt", b"") for n in range(20)]), "a.tar", Limits(members=19)) == [
        ("", archives.ARCHIVE_LIMIT)
    ]
    assert refused(opened, tarred([("a.txt", b"0" * 2000)]), "a.tar", Limits(total_bytes=1000)) == [
        ("", archives.ARCHIVE_LIMIT)
    ]


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
        assert refused(opened, data[:end], name)
    assert refused(opened, b"not an archive", name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from([("a.zip", zipped), ("a.tar", tarred), ("a.tar", pax_tarred)]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_bytes_are_refused_or_read_and_never_raise_otherwise(opened, kind, changes):
    name, pack = kind
    data = bytearray(pack(GOOD.items()))
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


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_every_format(opened, format_):
    timed = tarfile.TarInfo("images/b.jpg")
    timed.mtime, timed.pax_headers = 1.5, {"LIBARCHIVE.xattr.x": "y" * 2000}
    long = f"images/{'d' * 60}/{'e' * 80}.jpg"
    files = {"images/\u00e9.jpg": b"1", long: b"2" * 600, "images/a.jpg": b"3"}
    folder = tarfile.TarInfo("images/")
    folder.type = tarfile.DIRTYPE
    data = tarred([(folder, b""), *files.items(), (timed, b"4")], format_)
    found = opened(data, "a.tar")
    assert {file.path: found.read[file.sha256]() for file in found.files} == {**files, "images/b.jpg": b"4"}
    target = io.BytesIO()
    with tarfile.open(
        fileobj=target, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "a commit"}
    ) as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    assert [file.path for file in opened(target.getvalue(), "a.tar").files] == ["a.jpg"]


def test_a_pax_header_gives_name_and_size(opened):
    header = (tarfile.XHDTYPE, "x", pax(path="images/b.jpg", size="4", size__x="y"), None)
    found = opened(headed(header, (tarfile.REGTYPE, "a.jpg", b"jpeg", 0), A_MEMBER), "a.tar")
    assert [(file.path, file.size_bytes) for file in found.files] == [("images/a.jpg", 4), ("images/b.jpg", 4)]


@EXTENDED
def test_extended_headers_are_not_read_whatever_they_claim(opened, type_):
    for data, size in ((b"", 1 << 30), (b"a" * ((1 << 20) + 1), None)):
        assert refused(opened, headed((type_, "x", data, size), A_MEMBER), "a.tar") == [("", archives.ARCHIVE_LIMIT)]


@EXTENDED
def test_extended_headers_are_limited_in_all(opened, type_):
    data = b"" if type_ == tarfile.GNUTYPE_LONGNAME else pax(comment="c")
    headers = [
        one
        for n in range(30)
        for one in ((type_, "x", data or b"%d.txt" % n, None), (tarfile.REGTYPE, f"{n}.txt", b"", None))
    ]
    assert len(opened(headed(*headers), "a.tar", Limits(members=30)).files) == 30
    assert refused(opened, headed(*[(type_, "x", data, None)] * 700, A_MEMBER), "a.tar", Limits(members=500)) in (
        [("", archives.ARCHIVE_LIMIT)],
        [("", archives.BAD_ARCHIVE)],  # two names
    )


def test_headers_upon_headers_are_no_recursion(opened):
    chain = [(tarfile.XHDTYPE, "x", pax(comment="c"), None)] * 2000
    assert [file.path for file in opened(headed(*chain, A_MEMBER), "a.tar").files] == ["images/a.jpg"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([A_MEMBER, (tarfile.REGTYPE, "b.jpg", b"", -512)], archives.BAD_ARCHIVE),
        ([(tarfile.XHDTYPE, "x", b"1" * 5000, None)], archives.BAD_ARCHIVE),
        ([(tarfile.XHDTYPE, "x", b"0 path=a.jpg\n", None)], archives.BAD_ARCHIVE),
        ([(tarfile.XHDTYPE, "x", b"99 path=a.jpg\n", None)], archives.BAD_ARCHIVE),
        ([(tarfile.XHDTYPE, "x", pax(size="-512"), None)], archives.BAD_ARCHIVE),
        ([(tarfile.XHDTYPE, "x", pax(size="1" * 5000), None)], archives.BAD_ARCHIVE),
        ([(tarfile.XHDTYPE, "x", pax(size="1" * 60), None)], archives.ARCHIVE_LIMIT),
        ([(tarfile.XGLTYPE, "x", pax(path="b.jpg"), None)], archives.BAD_ARCHIVE),
        (
            [(tarfile.XHDTYPE, "x", pax(path="b.jpg"), None), (tarfile.GNUTYPE_LONGNAME, "x", b"c.jpg\0", None)],
            archives.BAD_ARCHIVE,
        ),
        ([(tarfile.XHDTYPE, "x", pax(path="../b.jpg"), None)], archives.UNSAFE_PATH),
        ([(tarfile.XHDTYPE, "x", pax(GNU__sparse__major="1", GNU__sparse__minor="0"), None)], archives.LINK),
        ([(b"V", "label", b"", None)], archives.LINK),
    ],
)
def test_headers_that_refuse_a_tar(opened, headers, code):
    assert [code for _, code in refused(opened, headed(*headers, A_MEMBER), "a.tar", Limits(members=50))] == [code]


def test_a_description_needs_its_member(opened):
    assert refused(opened, headed(A_MEMBER, (tarfile.XHDTYPE, "x", pax(path="b.jpg"), None)), "a.tar") == [
        ("", archives.BAD_ARCHIVE)
    ]
