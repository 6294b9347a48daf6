import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading import mime
from lading.mime import HEAD_BYTES, UNKNOWN, guess

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
TIFF = b"II*\0\x08\0\0\0" + bytes(20)
SVG = b'<?xml version="1.0"?>\n<!-- a drawing -->\n<!DOCTYPE svg PUBLIC "x" "y">\n<svg xmlns="x"></svg>'


def ftyp(*brands: bytes) -> bytes:
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body + b"\0\0\0\x08mdat"


def ogg(codec: bytes) -> bytes:
    return b"OggS\0\2" + bytes(20) + b"\1\x1e" + codec + bytes(40)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.bin", b"x" * 100)
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "name", "found"),
    [
        (JPEG, "a", "image/jpeg"),
        (JPEG, "a.txt", "image/jpeg"),
        (PNG, "a.jpg", "image/png"),
        (b"GIF89a\1\0\1\0", "a", "image/gif"),
        (b"RIFF\1\0\0\0WEBPVP8 ", "a.jpg", "image/webp"),
        (b"RIFF\1\0\0\0WAVEfmt ", "a", "audio/wav"),
        (b"RIFF\1\0\0\0AVI LIST", "a", "video/x-msvideo"),
        (ftyp(b"heic", b"mif1"), "a.jpg", "image/heic"),
        (ftyp(b"mif1", b"mif1", b"heic"), "a", "image/heic"),
        (ftyp(b"mif1", b"miaf"), "a.heif", "image/heif"),
        (ftyp(b"avif", b"mif1"), "a", "image/avif"),
        (ftyp(b"qt  "), "a.mp4", "video/quicktime"),
        (ftyp(b"isom", b"iso2", b"mp41"), "a.mp4", "video/mp4"),
        (ftyp(b"isom", b"iso2"), "a.m4a", "audio/mp4"),
        (ftyp(b"isom"), "a.jpg", "video/mp4"),
        (ftyp(b"M4A "), "a", "audio/mp4"),
        (ftyp(b"crx "), "a.cr3", "image/x-canon-cr3"),
        (ogg(b"vorbis"), "a.ogg", "audio/ogg"),
        (ogg(b"vorbis"), "a.mp3", "audio/ogg"),
        (b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora" + bytes(40), "a.ogg", "video/ogg"),
        (ogg(b"BBCD"), "a.ogv", "video/ogg"),
        (TIFF, "a.tif", "image/tiff"),
        (TIFF, "a.NEF", "image/x-nikon-nef"),
        (TIFF, "a.jpg", "image/tiff"),
        (zipped(), "a.zip", "application/zip"),
        (zipped(), "a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (zipped(), "a.jpg", "application/zip"),
        (OLE, "a.xls", "application/vnd.ms-excel"),
        (OLE, "a.jpg", "application/x-ole-storage"),
        (b"%PDF-1.7\n", "a.jpg", "application/pdf"),
        (b"\x1f\x8b\x08" + bytes(10), "a.tar.gz", "application/gzip"),
        (b"\x47" + bytes(187) + b"\x47" + bytes(187) + b"\x47" + bytes(20), "a", "video/mp2t"),
        (b"ID3\4\0\0", "a", "audio/mpeg"),
        (b"\xff\xfb\x90\x64" + bytes(40), "a", "audio/mpeg"),
        (SVG, "a.xml", "image/svg+xml"),
        (b"<svg/>", "a", "image/svg+xml"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><gpx/>", "a.gpx", "application/gpx+xml"),
        (b"<?xml version='1.0'?><a/>", "a.svg", "application/xml"),
        (b"<?xml version='1.0'?><html/>", "a", "text/html"),
        (b"\n<!DOCTYPE HTML>\n<p>", "a.txt", "text/html"),
        (b'{"a": 1}', "a", "application/json"),
        (b"[1, 2]", "a.txt", "application/json"),
        (b'{"type": 1}', "a.geojson", "application/geo+json"),
        (b"[section]\na=1", "a.ini", "text/plain"),
        (b"a,b\n1,2\n", "a.csv", "text/csv"),
        (b"# hello\n", "a.md", "text/markdown"),
        (b"hello", "a.jpg", "text/plain"),
        (b"hello", "a", "text/plain"),
        (b"BMW is a car maker\n", "a.txt", "text/plain"),
        ("Grüße".encode("utf-16"), "a", "text/plain"),
        ("Grüße".encode("latin-1"), "a.txt", "text/plain"),
        (b"x" * (HEAD_BYTES - 1) + "é".encode(), "a", "text/plain"),
        (b"\x02\x03\x04\x05", "a.txt", UNKNOWN),
        (b"\x02\x03\x04\x05", "a", UNKNOWN),
        (b"\x02\x03\x04\x05", "a.mts", "video/mp2t"),
        (b"", "a.txt", "text/plain"),
        (b"", "a", UNKNOWN),
        (JPEG, b"caf\xe9.png", "image/jpeg"),
    ],
)
def test_types(head: bytes, name: str | bytes, found: str) -> None:
    assert guess(head, name) == found


@given(st.binary(max_size=600), st.sampled_from(["a", "a.jpg", "a.txt", "a.zip", b"\xff.mp4"]))
def test_it_never_fails(head: bytes, name: str | bytes) -> None:
    assert guess(head, name).count("/") == 1


def test_photos_and_texts_do_not_load_filetype() -> None:
    code = (
        "import sys; from lading.mime import guess; guess(b'\\xff\\xd8\\xff\\xe0', 'a.jpg'); guess(b'hello', 'a');"
        "print('filetype' in sys.modules, 'mimetypes' in sys.modules)"
    )
    folders = [str(Path(mime.__file__).parents[1]), str(Path(mime.__file__).parents[2] / "catalog")]
    code = f"import sys; sys.path[:0] = {folders}; " + code
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"
