#!/usr/bin/env python3
"""Checks who includes whom, file lengths, and words that must not appear. Prints every finding; exit code 1 if any.

    layers.py ROOT        checks a source tree
    layers.py --self-test checks that each rule finds its violation in a made-up tree
"""
import pathlib
import re
import sys
import tempfile

# Room -> rooms it may include besides itself; what follows from the picture in README.md.
ARROWS = {
    "app": {"study", "model", "worlds", "metrics", "cost", "io", "core", "kernels"},
    "study": {"model", "worlds", "metrics", "cost", "io", "core"},
    "model": {"core", "io", "kernels"},
    "worlds": {"core"},
    "metrics": {"core"},
    "cost": {"core"},
    "io": {"core"},
    "core": set(),
    "kernels": set(),
}
# A foreign header (regular expression) -> where it may be included (regular expression on the path).
HOMES = {
    r"xsimd/.*|immintrin\.h|.*mmintrin\.h": r"kernels/(lanes\.hpp|isa_\w+\.cpp)",
    r"tbb/.*|oneapi/.*": r"src/core/parallel\.(hpp|cpp)",
    r"mpi\.h": r"src/core/comm\.cpp",
    r"hdf5.*\.h|H5.*\.h": r"src/io/results.*",
    r"lib(av|sw)\w+/.*": r"src/io/video.*",
    r"box2d/.*": r"src/worlds/.*",
    r"opencv2?/.*": r"src/(metrics|worlds)/.*",
    r"toml(\+\+|plusplus)/.*": r"src/study/.*",
    r"sentencepiece.*": r"src/model/tokenizer\.cpp",
}
GENERATED = {"build_info.hpp", "floors.inc"}  # written by the build
FORBIDDEN = re.compile(r"-ffast-math|-Ofast|-march=native|-ffp-contract=fast|\bMPI_I?([Aa]ll)?[Rr]educe\w*|\bMPI_I?(Ex)?[Ss]can|\bparallel_reduce")
MAX_LINES = 450
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCES = {".cpp", ".hpp", ".inl", ".h"}


def room_of(path):
    """Room of a path relative to the root, or None: src/core/x.hpp -> core, kernels/x.hpp -> kernels."""
    parts = pathlib.PurePosixPath(path).parts
    if parts[0] == "kernels":
        return "kernels"
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


def findings(root):
    root = pathlib.Path(root)
    found = []
    sources = sorted(p for top in ("src", "kernels") for p in (root / top).rglob("*") if p.suffix in SOURCES)
    builds = [p for p in (root / "CMakeLists.txt", root / "CMakePresets.json") if p.exists()]
    for folder in ("cmake", "kernels", "src", "tests", "bench"):
        builds += sorted(p for p in (root / folder).rglob("*") if p.name == "CMakeLists.txt" or p.suffix == ".cmake")
    if not sources or not builds:
        found.append(f"{root}: no sources or no CMakeLists.txt here")

    for path in sources + builds:
        name = path.relative_to(root).as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if word := FORBIDDEN.search(line):
                found.append(f"{name}:{number}: {word.group()} is forbidden")
        if path in builds:
            continue
        if len(lines) > MAX_LINES:
            found.append(f"{name}: {len(lines)} lines, at most {MAX_LINES}")
        room = room_of(name)
        if room not in ARROWS:
            found.append(f"{name}: no such room")
            continue
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            header = match.group(2)
            for pattern, home in HOMES.items():
                if re.fullmatch(pattern, header) and not re.fullmatch(home, name):
                    found.append(f"{name}:{number}: {header} belongs to {home} only")
            # Ours, by whatever spelling finds a file: from src, from the root, or from the folder of the file.
            for base in (root / "src", root, path.parent):
                if (base / header).is_file() and (base / header).resolve().is_relative_to(root.resolve()):
                    target = (base / header).resolve().relative_to(root.resolve()).as_posix()
                    if room_of(target) != room and room_of(target) not in ARROWS[room]:
                        found.append(f"{name}:{number}: {room} may not include {target}")
                    break
            else:
                if match.group(1) == '"' and header not in GENERATED and not any(re.fullmatch(p, header) for p in HOMES):
                    found.append(f"{name}:{number}: {header} is not in the tree")
    return found


def self_test():
    good = {
        "CMakeLists.txt": "add_compile_options(-march=x86-64-v3 -ffp-contract=off)  # no fast-math\n",
        "kernels/lanes.hpp": "#include <immintrin.h>\n#include <xsimd/xsimd.hpp>\n",
        "kernels/bodies.inl": '#include "kernels/lanes.hpp"\n',
        "src/core/comm.cpp": '#include <mpi.h>\n#include "core/error.hpp"\n',
        "src/core/error.hpp": "#include <string>\n",
        "src/core/parallel.cpp": "#include <tbb/parallel_for.h>\n",
        "src/model/ops.hpp": '#include "kernels/lanes.hpp"\n#include "core/error.hpp"\n#include "io/results.hpp"\n',
        "src/io/results.hpp": "#include <hdf5.h>\n" + "//\n" * (MAX_LINES - 1),
        "src/app/main.cpp": '#include "model/ops.hpp"\n',
    }
    # Each violation alone, and a piece of the finding it must give.
    bad = [
        ({"src/core/bad.cpp": '#include "model/ops.hpp"\n'}, "core may not include src/model/ops.hpp"),
        ({"src/core/bad.cpp": '  #  include  "../io/results.hpp"\n'}, "core may not include src/io/results.hpp"),
        ({"src/cost/bad.cpp": '#include "io/results.hpp"\n'}, "cost may not include"),
        ({"src/io/bad.cpp": "#include <kernels/lanes.hpp>\n"}, "io may not include"),
        ({"src/study/bad.cpp": '#include "kernels/lanes.hpp"\n'}, "study may not include"),
        ({"kernels/bad.cpp": '#include "src/core/error.hpp"\n'}, "kernels may not include"),
        ({"src/model/bad.cpp": '#include "core/missing.hpp"\n'}, "is not in the tree"),
        ({"src/attic/bad.cpp": "\n"}, "no such room"),
        ({"src/model/bad.cpp": "#include <immintrin.h>\n"}, "immintrin.h belongs to"),
        ({"kernels/bad.inl": "#include <xsimd/xsimd.hpp>\n"}, "xsimd.hpp belongs to"),
        ({"src/model/bad.cpp": "#include <tbb/parallel_for.h>\n"}, "parallel_for.h belongs to"),
        ({"src/core/bad.cpp": "#include <mpi.h>\n"}, "mpi.h belongs to"),
        ({"src/io/bad.cpp": "#include <hdf5.h>\n"}, "hdf5.h belongs to"),
        ({"src/io/bad.cpp": "#include <hdf5_hl.h>\n"}, "hdf5_hl.h belongs to"),
        ({"src/metrics/bad.cpp": "#include <libavcodec/avcodec.h>\n"}, "avcodec.h belongs to"),
        ({"src/io/bad.cpp": "#include <libswscale/swscale.h>\n"}, "swscale.h belongs to"),
        ({"src/cost/bad.cpp": "#include <box2d/box2d.h>\n"}, "box2d.h belongs to"),
        ({"src/io/bad.cpp": "#include <opencv2/core.hpp>\n"}, "core.hpp belongs to"),
        ({"src/app/bad.cpp": "#include <toml++/toml.h>\n"}, "toml.h belongs to"),
        ({"src/model/bad.cpp": "#include <sentencepiece_processor.h>\n"}, "sentencepiece_processor.h belongs to"),
        ({"src/core/bad.cpp": "//\n" * (MAX_LINES + 1)}, f"{MAX_LINES + 1} lines"),
        ({"src/core/bad.cpp": "MPI_Allreduce(a, b);\n"}, "MPI_Allreduce is forbidden"),
        ({"src/core/bad.cpp": "MPI_Iallreduce(a, b);\n"}, "MPI_Iallreduce is forbidden"),
        ({"src/core/bad.cpp": "MPI_Reduce_scatter(a, b);\n"}, "MPI_Reduce_scatter is forbidden"),
        ({"src/core/bad.cpp": "MPI_Exscan(a, b);\n"}, "MPI_Exscan is forbidden"),
        ({"src/core/bad.cpp": "tbb::parallel_reduce(a, b);\n"}, "parallel_reduce is forbidden"),
        ({"cmake/bad.cmake": "add_compile_options(-ffast-math)\n"}, "-ffast-math is forbidden"),
        ({"CMakePresets.json": '{"CMAKE_CXX_FLAGS": "-O3 -march=native"}\n'}, "-march=native is forbidden"),
        ({"tests/CMakeLists.txt": "add_compile_options(-march=native)\n"}, "-march=native is forbidden"),
    ]
    failures = []
    for extra, wanted in [({}, None)] + bad:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**good, **extra}.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            found = findings(folder)
        if (wanted is None and found) or (wanted is not None and (len(found) != 1 or wanted not in found[0])):
            failures.append(f"{extra}: wanted {wanted!r}, found {found}")
    with tempfile.TemporaryDirectory() as folder:
        if not findings(folder):
            failures.append("an empty tree passed")
    return failures, len(bad)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--self-test":
        problems, count = self_test()
        print(f"{count} violations tried")
    else:
        problems = findings(sys.argv[1])
    print("\n".join(problems) or "clean")
    sys.exit(1 if problems else 0)
