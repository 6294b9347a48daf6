"""MIME types by ending: our own table, the same on every machine. For `mime`, which looks at the content first."""

# fmt: off
ENDINGS = {
    # images
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp",
    "avif": "image/avif",
    "heic": "image/heic", "heif": "image/heif", "jxl": "image/jxl", "bmp": "image/bmp", "ico": "image/x-icon",
    "svg": "image/svg+xml",
    "tif": "image/tiff", "tiff": "image/tiff", "psd": "image/vnd.adobe.photoshop", "dng": "image/x-adobe-dng",
    "nef": "image/x-nikon-nef", "cr2": "image/x-canon-cr2", "cr3": "image/x-canon-cr3", "arw": "image/x-sony-arw",
    "orf": "image/x-olympus-orf", "rw2": "image/x-panasonic-rw2", "raf": "image/x-fuji-raf",
    "pef": "image/x-pentax-pef",
    # sounds
    "mp3": "audio/mpeg", "m4a": "audio/mp4", "m4b": "audio/mp4", "aac": "audio/aac", "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg", "oga": "audio/ogg", "opus": "audio/ogg", "spx": "audio/ogg", "aif": "audio/x-aiff",
    "aiff": "audio/x-aiff",
    "mid": "audio/midi", "midi": "audio/midi", "wma": "audio/x-ms-wma", "mka": "audio/x-matroska", "amr": "audio/amr",
    # films
    "mp4": "video/mp4", "m4v": "video/x-m4v", "mov": "video/quicktime", "3gp": "video/3gpp", "mkv": "video/x-matroska",
    "webm": "video/webm", "avi": "video/x-msvideo", "wmv": "video/x-ms-wmv", "flv": "video/x-flv", "mpg": "video/mpeg",
    "mpeg": "video/mpeg", "ogv": "video/ogg", "mts": "video/mp2t", "m2ts": "video/mp2t", "insv": "video/mp4",
    # documents
    "pdf": "application/pdf", "ps": "application/postscript", "eps": "application/postscript", "rtf": "application/rtf",
    "doc": "application/msword", "xls": "application/vnd.ms-excel", "ppt": "application/vnd.ms-powerpoint",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text", "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation", "epub": "application/epub+zip",
    # texts
    "txt": "text/plain", "log": "text/plain", "md": "text/markdown", "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "html": "text/html", "htm": "text/html", "css": "text/css", "js": "text/javascript", "mjs": "text/javascript",
    "srt": "application/x-subrip", "vtt": "text/vtt", "xml": "application/xml", "json": "application/json",
    "jsonl": "application/jsonl",
    "geojson": "application/geo+json", "gpx": "application/gpx+xml", "kml": "application/vnd.google-earth.kml+xml",
    "xmp": "application/rdf+xml", "yaml": "application/yaml", "yml": "application/yaml", "toml": "application/toml",
    "py": "text/x-python", "ics": "text/calendar", "vcf": "text/vcard", "obj": "model/obj", "gltf": "model/gltf+json",
    # archives and data
    "zip": "application/zip", "jar": "application/java-archive", "apk": "application/vnd.android.package-archive",
    "cbz": "application/vnd.comicbook+zip", "kmz": "application/vnd.google-earth.kmz", "usdz": "model/vnd.usdz+zip",
    "gz": "application/gzip", "tgz": "application/gzip", "bz2": "application/x-bzip2", "xz": "application/x-xz",
    "zst": "application/zstd", "tar": "application/x-tar", "7z": "application/x-7z-compressed",
    "rar": "application/vnd.rar",
    "npy": "application/x-npy", "npz": "application/x-npz", "parquet": "application/vnd.apache.parquet",
    "glb": "model/gltf-binary",
    "stl": "model/stl", "wasm": "application/wasm", "sqlite": "application/x-sqlite3", "db": "application/x-sqlite3",
    "ttf": "font/ttf", "otf": "font/otf", "woff": "font/woff", "woff2": "font/woff2", "dcm": "application/dicom",
}
TEXT_ENDINGS = frozenset((
    "svg", "txt", "log", "md", "csv", "tsv", "html", "htm", "css", "js", "mjs", "srt", "vtt", "xml", "json", "jsonl",
    "geojson",
    "gpx", "kml", "xmp", "yaml", "yml", "toml", "py", "ics", "vcf", "obj", "gltf", "ps", "eps", "rtf",
))
# fmt: on
