"""`make demo`: the promise of Lading in under a minute, on this machine only.

A photograph, a sound and a document are put while their destination is away. The daemon says so and waits. The destination comes
back; `lading wait` prints the receipt; a file is brought back and compared. Everything happens in a temporary folder, with the
real commands and a real daemon; the folder is removed at the end.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"
BIN = Path(sys.executable).parent
COLOR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if COLOR else f"\n{text}", flush=True)


class Demo:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.backup = place / "backup"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LADING_")}
        # HOME too: the demo must not find, or leave, anything of yours.
        self.env = {**kept, "HOME": str(place), "LADING_HOME": str(place / "home"), "LADING_CONFIG": str(place / "config.toml")}
        self.env.pop("XDG_RUNTIME_DIR", None)
        (place / "config.toml").touch(mode=0o600)

    def lading(self, *args: str, expect: int = 0) -> str:
        """Run a command and show it as a user would see it."""
        print("$ " + shlex.join(["lading", *args]).replace(str(self.place), "…"), flush=True)
        done = subprocess.run([BIN / "lading", *args], env=self.env, cwd=self.place, text=True, capture_output=True, check=False)
        shown = (done.stdout + done.stderr).replace(str(self.place), "…").rstrip()
        print("\n".join(f"  {line}" for line in shown.splitlines()), flush=True)
        if done.returncode != expect:
            raise SystemExit(f"demo: exit code {done.returncode}, expected {expect}")
        return done.stdout

    def run(self) -> None:
        uri = f"file://{self.backup}/"
        say("1. A destination is named: a folder on a disk that is not plugged in.")
        self.lading("config", "set", "input_media_dest", uri)
        say(
            "2. A photograph, a sound and a document are put. No daemon runs, the destination is away; they are safe on this disk."
        )
        shutil.copytree(SAMPLES, self.place / "card")
        self.lading("put", *(f"card/{p.name}" for p in sorted(SAMPLES.iterdir())))
        say("3. The daemon starts. The disk is still away, and Lading says so.")
        with open(self.place / "daemon.log", "w", encoding="utf-8") as log:
            print("$ lading daemon &", flush=True)
            daemon = subprocess.Popen([BIN / "lading", "daemon"], env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.until_noticed(daemon)
            self.lading("status")
            self.lading("why", "harbour.jpg")
            say("4. The card is wiped too early. Only the copies on this disk are left.")
            shutil.rmtree(self.place / "card")
            print("$ rm -r card", flush=True)
            say("5. The disk is plugged in. The receipt comes when every file is there and was read back.")
            self.backup.mkdir()
            print("$ mount backup", flush=True)
            self.lading("wait", "--timeout", "60s")
            self.lading("status")
            say("6. A file is brought back and compared with the original, and so are the bytes at the destination.")
            self.lading("get", "harbour.jpg", "-o", "back")
            self.compare()
        finally:
            daemon.terminate()
            code = daemon.wait(timeout=20)
        if code != 0:
            raise SystemExit(f"demo: the daemon ended with {code}")

    def until_noticed(self, daemon: subprocess.Popen[bytes]) -> None:
        """Until the daemon has seen that the destination is away."""
        for _ in range(200):
            if daemon.poll() is not None:
                raise SystemExit("demo: the daemon ended:\n" + (self.place / "daemon.log").read_text(encoding="utf-8"))
            status = subprocess.run(
                [BIN / "lading", "status", "--json"], env=self.env, text=True, capture_output=True, check=False
            )
            if '"unreachable"' in status.stdout:
                return
            time.sleep(0.1)
        raise SystemExit("demo: the daemon did not notice that the destination is away")

    def compare(self) -> None:
        at_destination = {p.read_bytes() for p in self.backup.rglob("*") if p.is_file() and ".lading" not in p.parts}
        originals = {p.read_bytes() for p in SAMPLES.iterdir()}
        back = (self.place / "back" / "harbour.jpg").read_bytes()
        print("$ cmp back/harbour.jpg card/harbour.jpg && diff -r card backup", flush=True)
        if back != (SAMPLES / "harbour.jpg").read_bytes() or at_destination != originals:
            raise SystemExit("demo: the bytes differ")
        print(f"  identical: 1 file brought back, {len(originals)} at the destination", flush=True)


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lading-demo-") as folder:
        Demo(Path(folder).resolve()).run()
    say(f"Done in {time.monotonic() - began:.0f} s. Nothing of it is left on this machine.")


if __name__ == "__main__":
    main()
