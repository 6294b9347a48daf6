"""The MIME type of a file: what its first bytes say, and its ending only where they say little.

The ending decides inside a container (a zip that is a .docx, a TIFF that is a .nef), among texts (.csv, .md), and for
bytes that nobody knows. Its table is our own: /etc/mime.types would make the same file another type on another machine.

The package `filetype` knows 80 formats but takes 5 to 15 ms to import: it is loaded for the first file that the few
prefixes here do not tell, so a put of photos, sounds, films or texts never pays for it.
"""

from __future__ import annotations

import re

from lading.mime_endings import ENDINGS, TEXT_ENDINGS
from lading_catalog.keys import split_ext

HEAD_BYTES = 8192  # how much of the file `guess` looks at
UNKNOWN = "application/octet-stream"

# fmt: off
# What content shows → the endings that may say it better.
_INSIDE = {
    "application/zip": ("docx", "xlsx", "pptx", "odt", "ods", "odp", "epub", "jar", "apk", "cbz", "kmz", "usdz", "npz"),
    "application/x-ole-storage": ("doc", "xls", "ppt"),
    "image/tiff": ("dng", "nef", "arw", "pef", "cr2", "orf", "rw2"),
    "video/mp4": ("m4a", "m4b", "m4v", "mov", "3gp"),
    "image/heif": ("heic", "avif"),
    "audio/ogg": ("ogv",),  # a codec that we do not know
    "video/x-matroska": ("mka", "webm"),
    "video/x-ms-wmv": ("wma",),
}
_PREFIXES = (
    (b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"), (b"%!PS", "application/postscript"), (b"{\\rtf", "application/rtf"),
    (b"fLaC", "audio/flac"), (b"ID3", "audio/mpeg"), (b"II*\0", "image/tiff"), (b"MM\0*", "image/tiff"),
    (b"IIRO", "image/x-olympus-orf"), (b"IIU\0", "image/x-panasonic-rw2"), (b"FUJIFILMCCD-RAW", "image/x-fuji-raf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"), (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL ", "image/jxl"),
    (b"\x93NUMPY", "application/x-npy"), (b"PAR1", "application/vnd.apache.parquet"), (b"glTF", "model/gltf-binary"),
    (b"wOFF", "font/woff"), (b"wOF2", "font/woff2"), (b"OTTO", "font/otf"), (b"\0\1\0\0\0", "font/ttf"),
)
_BRANDS = {  # the first of an ISO-BMFF file's brands that tells
    b"heic": "image/heic", b"heix": "image/heic", b"hevc": "image/heic", b"avif": "image/avif", b"avis": "image/avif",
    b"crx ": "image/x-canon-cr3", b"qt  ": "video/quicktime", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4",
    b"M4V ": "video/x-m4v",
    b"3gp4": "video/3gpp", b"3gp5": "video/3gpp", b"3gp6": "video/3gpp", b"mif1": "image/heif", b"msf1": "image/heif",
}
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_OTHER_NAMES = {  # filetype's names → the registered ones
    "audio/x-wav": "audio/wav", "audio/x-flac": "audio/flac", "application/x-rar-compressed": "application/vnd.rar",
    "image/apng": "image/png",
}
# fmt: on
_HTML = re.compile(rb"<!doctype\s+html|<html[\s>]|<head[\s>]|<body[\s>]", re.IGNORECASE)
_XML_ROOT = re.compile(rb"\A(?:<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\])?\s*>|\s+)*<([A-Za-z_][\w.:-]*)", re.DOTALL)
_JSON = re.compile(rb"""\{\s*(?:"|\}\s*\Z)|\[\s*(?:[\[{"\]]|-?[0-9]+\s*[.,\]eE]|(?:true|false|null)\s*[,\]])""")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def guess(head: bytes, name: str | bytes) -> str:
    """The MIME type of a file that begins with `head` (HEAD_BYTES are looked at) and is called `name`.

    Never fails; UNKNOWN when neither says anything. A .jpg that holds a PNG is image/png.
    """
    head = head[:HEAD_BYTES]
    ending = split_ext(name)[1][1:]
    by_ending = ENDINGS.get(ending, "")
    found = _by_prefix(head)
    if not found and _is_text(head):
        return _text(head, ending)
    found = found or _by_filetype(head)
    if found in _INSIDE:
        return by_ending if ending in _INSIDE[found] else found
    if found:
        return found
    if ending in TEXT_ENDINGS and head and _CONTROL.search(head):
        return UNKNOWN  # a .txt that is no text
    return by_ending or UNKNOWN


def _by_prefix(head: bytes) -> str:
    for prefix, found in _PREFIXES:
        if head.startswith(prefix):
            return found
    if head[4:8] == b"ftyp":
        size = max(16, min(int.from_bytes(head[:4], "big"), 256))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
        told = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return next((it for it in told if it != "image/heif"), told[0] if told else "video/mp4")
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free") and len(head) > 16:
        return "video/quicktime"
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    if head[:4] == b"OggS":
        return "video/ogg" if b"\x80theora" in head[:256] else "audio/ogg"
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "video/mp2t"
    if len(head) > 388 and head[4] == head[196] == head[388] == 0x47:
        return "video/mp2t"  # AVCHD: four bytes of time before each packet
    return ""


def _by_filetype(head: bytes) -> str:
    if not head:
        return ""
    try:
        import filetype  # 5 to 15 ms, see above
    except (ImportError, OSError):  # no descriptor left to load it with: a put does not fail for that
        return ""
    kind = filetype.guess(head)
    return _OTHER_NAMES.get(kind.mime, kind.mime) if kind else ""


def _is_text(head: bytes) -> bool:
    """UTF-8 without control characters (a character cut at the end is allowed), or UTF-16 with its mark."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return len(head) % 2 == 0 and b"\0\0" not in head[2:]
    if not head or _CONTROL.search(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == HEAD_BYTES and error.start >= HEAD_BYTES - 3
    return True


def _text(head: bytes, ending: str) -> str:
    by_ending = ENDINGS[ending] if ending in TEXT_ENDINGS else ""
    body = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(body):
        return "text/html"
    if body.startswith(b"<"):
        root = _XML_ROOT.match(body)
        if root and root[1].rpartition(b":")[2] == b"svg":
            return "image/svg+xml"
        if root and root[1].lower() == b"html":
            return "text/html"
        if body.startswith(b"<?xml"):
            return by_ending if by_ending.endswith("xml") and ending != "svg" else "application/xml"
    if _JSON.match(body):
        return by_ending if "json" in by_ending else "application/json"
    return by_ending if by_ending and ending != "svg" else "text/plain"
